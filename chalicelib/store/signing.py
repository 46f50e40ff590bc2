"""Addresses of objects in S3 that need no credentials, by Signature Version 4."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from functools import cache, lru_cache, reduce
from hashlib import sha256
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from chalicelib.store.clients import credentials, s3


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
