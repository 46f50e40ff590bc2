"""What is refused before anything is deployed."""

from __future__ import annotations

import pytest

from infra.build import BuildError, chosen_auth
from infra.deploy import Account, DeployError, delete, refuse_unchosen

AWS = Account()
EMULATOR = Account("http://127.0.0.1:4566")


def test_nothing_goes_to_aws_before_somebody_said_who_may_call_it() -> None:
    with pytest.raises(DeployError, match=r"none.*api_key.*iam"):
        refuse_unchosen("prod", None, AWS)


def test_a_choice_is_enough() -> None:
    refuse_unchosen("prod", "iam", AWS)
    refuse_unchosen("prod", None, EMULATOR)
    assert chosen_auth("local") == "none"
    assert chosen_auth("prod") is None


def test_what_is_open_to_all_stays_off_aws() -> None:
    for refuse in (refuse_unchosen, lambda stage, _, account: delete(stage, account)):
        with pytest.raises(DeployError, match="AWS_ENDPOINT_URL"):
            refuse("local", None, AWS)


def test_there_is_no_other_stage() -> None:
    with pytest.raises(BuildError, match="staging"):
        chosen_auth("staging")
