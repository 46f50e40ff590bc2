"""Clients of AWS, each made once a process, on first use; and what users may be told of AWS's errors."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from functools import cache, lru_cache, reduce
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore import UNSIGNED
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


def signed_address(bucket: str, key: str, query: Mapping[str, str], at: int, seconds: int) -> str:
    """The address of a GET of an object in S3: signed as of `at` (Unix seconds), valid for `seconds`.

    botocore's own are always signed as of now, and a page of jobs with hundreds of them takes seconds.
    """
    base = _bucket_address(bucket)
    scheme, host, path = base.scheme, base.netloc, base.path + quote(key)
    given = credentials().get_frozen_credentials()
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    region = s3().meta.region_name
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    signed = {
        **query,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{given.access_key}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    if given.token:
        signed["X-Amz-Security-Token"] = given.token
    names = urlencode(sorted(signed.items()), quote_via=quote, safe="")
    request = f"GET\n{path}\n{names}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = sha256(request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    signature = _hmac(_signing_key(given.secret_key, scope), to_sign).hex()
    return f"{scheme}://{host}{path}?{names}&X-Amz-Signature={signature}"


@cache
def _bucket_address(bucket: str) -> SplitResult:
    """Where a bucket is, with a path to which keys are appended."""
    unsigned = boto3.client(
        "s3",
        config=Config(
            signature_version=UNSIGNED,
            s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "auto"},
        ),
    )
    params = {"Bucket": bucket, "Key": "k"}
    return urlsplit(unsigned.generate_presigned_url("get_object", Params=params).removesuffix("k"))


@lru_cache(maxsize=1)
def _signing_key(secret: str, scope: str) -> bytes:
    """The key of a day, a region and a service, which `scope` names."""
    return reduce(_hmac, scope.split("/"), f"AWS4{secret}".encode())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


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
