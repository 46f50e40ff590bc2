"""From a build to a running stack, by CloudFormation: the same path for AWS and for an emulator."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.build import Build, chosen_auth
from infra.parts.names import Json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


class DeployError(Exception):
    """The stack is not what it should be; the message says which resource and why."""


@dataclass(frozen=True)
class Account:
    """Where to deploy to, and as whom; without an endpoint: AWS, by its usual configuration."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def client(self, service: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
        return self.session().client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            config=Config(retries={"mode": "standard", "max_attempts": 5}),
        )

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )
