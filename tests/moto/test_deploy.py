"""What is refused before anything is deployed, and what keeps its name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest

from infra.__main__ import argument_parser
from infra.deploying.account import Account, with_region
from infra.deploying.artifacts import require_tls, upload
from infra.deploying.build import Build, chosen_auth
from infra.deploying.deploy import delete
from infra.deploying.errors import BuildError, DeployError
from infra.deploying.guards import refuse_unchosen, refuse_unconfirmed
from infra.deploying.kept import Kept
from infra.stack import storage, targets

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AWS = Account()
EMULATOR = Account("http://127.0.0.1:4566")


class Numbered(Account):
    """An account that needs nobody to tell its number."""

    def number(self) -> str:
        return "123456789012"


@dataclass(frozen=True)
class Unpoliced(Account):
    """An account whose buckets get no policy; `closed` lists those that should have got one.

    moto does not read the condition of a policy: with ours, it would refuse every later request.
    """

    closed: list[str] = field(default_factory=list)

    def s3(self) -> S3Client:
        s3 = super().s3()
        events: Any = s3.meta.events
        events.register("before-call.s3.PutBucketPolicy", self._note)
        return s3

    def _note(self, params: Any, **_: Any) -> tuple[Any, dict[str, Any]]:
        self.closed.append(urlsplit(params["url"]).netloc.partition(".")[0])
        return SimpleNamespace(status_code=200), {}


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


@pytest.mark.parametrize("typed", [None, "", "test", "sluice-prod"])
def test_nothing_of_aws_is_deleted_before_its_stages_name_is_typed(typed: str | None) -> None:
    with pytest.raises(DeployError, match="CONFIRM=prod"):
        refuse_unconfirmed("prod", typed, AWS)
    refuse_unconfirmed("prod", "prod", AWS)
    refuse_unconfirmed("prod", None, EMULATOR)


def test_a_region_is_asked_for_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert with_region(AWS).region == "eu-central-1"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(DeployError, match="AWS_DEFAULT_REGION"):
        with_region(AWS)


@pytest.mark.parametrize("command", ["package", "deploy", "delete", "up"])
@pytest.mark.parametrize("stage", ["Prod", "1a", "a--b", "a-", "a_b", "a b", "", "a" * 21, "x;y"])
def test_a_name_that_aws_would_refuse_is_refused_at_once(
    command: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        argument_parser().parse_args([command, "--stage", stage])
    assert "cannot name a stage" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["prod", "a", "eu-2", "a" * 20])
def test_other_names_of_stages_are_taken_and_fit_into_a_buckets(stage: str) -> None:
    assert argument_parser().parse_args(["package", "--stage", stage]).stage == stage
    assert len(f"sluice-{stage}-upload-123456789012-ap-northeast-1") <= 63


def named(outputs: dict[str, str]) -> dict[str, Any]:
    """The kept resources of a template, with their names, for a stack with these outputs."""
    resources: dict[str, Any] = storage.table(targets.AWS) | storage.buckets(
        targets.AWS, original_days=None, output_days=None, upload_seconds=86400
    )
    account = Numbered(region="eu-central-1")
    Kept("sluice-prod", account, outputs).name_in(resources, adopting=False)
    return resources


def test_what_is_kept_has_a_literal_name_for_cloudformation_adopts_nothing_else() -> None:
    resources = named({})
    table, bucket = "sluice-prod-jobs", "sluice-prod-upload-123456789012-eu-central-1"
    assert resources["JobsTable"]["Properties"]["TableName"] == table
    assert resources["UploadBucket"]["Properties"]["BucketName"] == bucket
    assert resources["UploadBucketPolicy"]["Properties"]["Bucket"] == bucket


def test_a_stack_from_before_tables_had_names_keeps_its_table() -> None:
    outputs = {"JobsTable": "sluice-prod-JobsTable-1ABC"}
    assert "TableName" not in named(outputs)["JobsTable"]["Properties"]


@pytest.mark.usefixtures("cloud")
def test_what_is_deployed_takes_no_plain_http() -> None:
    s3, bucket = boto3.client("s3"), "artefacts"
    s3.create_bucket(Bucket=bucket)
    require_tls(s3, bucket)
    (policy,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (policy["Effect"], policy["Action"]) == ("Deny", "s3:*")
    assert policy["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    assert policy["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.usefixtures("cloud")
def test_what_is_deployed_stays_and_what_it_replaced_expires(tmp_path: Path) -> None:
    function = {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "./code.zip"}}
    (tmp_path / "sam.json").write_text(json.dumps({"Resources": {"Api": function}}))
    account = Unpoliced(region="us-east-1")
    s3, bucket = account.s3(), "sluice-artifacts-123456789012-us-east-1"

    def uploaded(code: bytes) -> list[str]:
        (tmp_path / "code.zip").write_bytes(code)
        built = Build("prod", "arm64", "iam", tmp_path, "")
        upload(built, account, Kept("sluice-prod", account, {}), adopting=False)
        return sorted(v["Key"] for v in s3.list_object_versions(Bucket=bucket)["Versions"])

    once = ["prod/code.zip", "prod/template.json"]
    assert uploaded(b"one") == once
    assert uploaded(b"one") == once
    assert uploaded(b"two") == ["prod/code.zip", *once, "prod/template.json"]
    template = json.loads(s3.get_object(Bucket=bucket, Key="prod/template.json")["Body"].read())
    newest = s3.head_object(Bucket=bucket, Key="prod/code.zip")["VersionId"]
    uri = template["Resources"]["Api"]["Properties"]["CodeUri"]
    assert uri == {"Bucket": bucket, "Key": "prod/code.zip", "Version": newest}
    assert set(account.closed) == {bucket}
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}
