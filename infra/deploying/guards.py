"""What must be said before anything is created or deleted on AWS."""

from __future__ import annotations

import sys

from infra.deploying.account import Account
from infra.deploying.build import chosen_auth
from infra.deploying.cloudformation import stack_name
from infra.deploying.errors import DeployError
from infra.stack.targets import LOCAL_STAGES


def refuse_unconfirmed(stage: str, typed: str | None, account: Account) -> None:
    """Raise DeployError unless somebody typed the stage's name; emulators need no confirmation."""
    refuse_local(stage, account)
    if account.endpoint_url:
        return
    if typed is None and sys.stdin.isatty():
        typed = input(f"This deletes the stack {stack_name(stage)}. Type {stage} to go on: ")
    if typed != stage:
        raise DeployError(
            f"Nothing was deleted. To delete the stack {stack_name(stage)}, type the stage's name when "
            f"asked, or say `make delete STAGE={stage} CONFIRM={stage}`."
        )


def refuse_unchosen(stage: str, auth: str | None, account: Account) -> None:
    """Raise DeployError unless somebody chose who may call the API; emulators need no choice."""
    refuse_local(stage, account)
    if account.endpoint_url or auth or chosen_auth(stage):
        return
    raise DeployError(
        f"Nobody has chosen who may call the API of stage {stage}: none (everybody), api_key (API Gateway "
        f"keys, with throttling) or iam (requests signed with AWS credentials). Choose with AUTH=, as in "
        f"`make deploy STAGE={stage} AUTH=api_key`, or for good with SLUICE_AUTH in the stage's "
        f"environment_variables in .chalice/config.json."
    )


def refuse_local(stage: str, account: Account) -> None:
    """Raise DeployError for a local stage on AWS: it is open to all, and deleted with all that is in it."""
    if stage in LOCAL_STAGES and not account.endpoint_url:
        raise DeployError(
            f"The stage {stage} is made for an emulator, and AWS_ENDPOINT_URL is not set. "
            "For AWS, choose another one, as in STAGE=prod."
        )
