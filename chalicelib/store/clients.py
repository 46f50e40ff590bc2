"""Clients of AWS, each made once a process, on first use; and what users may be told of AWS's errors."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import chalicelib.store.meter  # noqa: F401  # it meters every client that is made after its import
from chalicelib.errors import SluiceError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_PATIENCE = Config(
    connect_timeout=3,
    read_timeout=20,
    retries={"mode": "standard", "max_attempts": 4},
)


@cache
def s3() -> S3Client:
    """S3, configured for presigned URLs: SigV4, a regional host, no checksum of an empty body in them."""
    client: S3Client = boto3.client(
        "s3",
        config=_PATIENCE.merge(
            Config(
                signature_version="s3v4",
                s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "auto"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
        ),
    )
    return client


@cache
def credentials() -> Credentials:
    found = boto3.Session().get_credentials()
    assert found is not None
    return found


@cache
def sqs() -> SQSClient:
    client: SQSClient = boto3.client("sqs", config=_PATIENCE)
    return client


@cache
def lambdas() -> LambdaClient:
    """Lambda, without retries, and with a timeout that is shorter than API Gateway's 29 s."""
    client: LambdaClient = boto3.client(
        "lambda",
        config=Config(connect_timeout=2, read_timeout=26, retries={"total_max_attempts": 1}),
    )
    return client


def explain(error: BaseException) -> str:
    """A sentence about an error that a user may read: our own, or nothing but the kind of a foreign error."""
    if isinstance(error, SluiceError):
        return error.detail
    if isinstance(error, Boto3Error) and error.__context__:  # transfers wrap what S3 answered
        error = error.__context__
    if isinstance(error, ClientError):
        return f"AWS answered {error.response['Error']['Code']} to {error.operation_name}."
    return f"Something unexpected happened ({type(error).__name__})."
