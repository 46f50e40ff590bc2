"""The AWS account, or emulator, that a stage is deployed to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from infra.deploying.errors import DeployError
from infra.stack.sizing import AccountLimits, limits_as_reported
from infra.stack.targets import LOCAL_STAGES

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Account:
    """Where to deploy to and with which credentials; None is the caller's AWS configuration."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )

    def cloudformation(self) -> CloudFormationClient:
        # An emulator answers only when it has made the stack: minutes, on a busy machine.
        patient = Config(read_timeout=600)
        return self.session().client(
            "cloudformation", endpoint_url=self.endpoint_url, config=patient
        )

    def number(self) -> str:
        """The account's twelve digits."""
        identity: Any = self.session().client("sts", endpoint_url=self.endpoint_url)
        number: str = identity.get_caller_identity()["Account"]
        return number

    def s3(self) -> S3Client:
        return self.session().client("s3", endpoint_url=self.endpoint_url)


def with_region(account: Account) -> Account:
    """The account with its region resolved. Raises DeployError where nothing is configured."""
    region = account.session().region_name
    if region is None:
        raise DeployError(
            "Nothing says which region of AWS is meant: set AWS_DEFAULT_REGION, as in "
            "`export AWS_DEFAULT_REGION=eu-central-1`, or `aws configure set region eu-central-1`."
        )
    return replace(account, region=region)


def account_limits(stage: str, account: Account) -> AccountLimits | None:
    """The account's limits, as Lambda reports them; None for a local stage, which only the machine limits."""
    if stage in LOCAL_STAGES:
        return None
    functions = account.session().client("lambda", endpoint_url=account.endpoint_url)
    reported = functions.get_account_settings()["AccountLimit"]
    return limits_as_reported(
        reported["ConcurrentExecutions"], reported["UnreservedConcurrentExecutions"]
    )
