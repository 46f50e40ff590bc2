"""The local cloud starts once, says why it cannot start, and leaves nothing when it stops."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from botocore.exceptions import ClientError

from chalicelib.model.plan import FORMAT
from infra.deploying.account import Account
from infra.deploying.build import build
from infra.deploying.deploy import delete, deploy
from infra.local import cloud, ministack
from infra.local.ministack import EmulatorError, start
from infra.paths import LOCAL
from infra.tools.samples import film
from sluice.client import Client, until
from tests.test_stack import ffmpegs, frames

pytestmark = pytest.mark.stack


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_busy_port_is_named_with_the_remedy(busy_port: int, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=rf"Port {busy_port} .*PORT="):
        start(tmp_path, busy_port)
    assert not (tmp_path / "emulator.json").exists()


def alive(process: psutil.Process) -> bool:
    """Whether a process runs: neither gone nor a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_goes_down_takes_everything_along(sample: Callable[[str], Path]) -> None:
    with cloud.running("test") as stack, Client(stack) as client:
        assert stack.pid is not None
        folder = LOCAL / "run" / stack.aws_endpoint_url.rsplit(":", 1)[1]
        secrets = (folder / "stack.json").stat().st_mode & 0o777
        assert secrets == 0o600
        client.upload(sample("anamorphic.mp4"), "watermark")
        until(lambda: ffmpegs(stack), 60)
        ministack = psutil.Process(stack.pid)
        everything = [ministack, *ministack.children(recursive=True)]
        assert len(everything) > 3
    assert [process for process in everything if alive(process)] == []
    assert not folder.exists()


def make(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", *words],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_up_twice_is_harmless_a_busy_port_is_refused_and_down_leaves_nothing(
    project: Path, free_port: int, busy_port: int
) -> None:
    refused = make(project, "up", f"PORT={busy_port}")
    assert refused.returncode != 0
    assert f"Port {busy_port} of 127.0.0.1 cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "Nothing is up" in make(project, "env").stderr
    try:
        first = make(project, "up", f"PORT={free_port}")
        assert first.returncode == 0, first.stderr
        said = json.loads((project / ".local" / "stack.json").read_text())
        again = make(project, "up", f"PORT={free_port}", AWS_ENDPOINT_URL="", SLUICE_X="")
        assert (again.returncode, "Already up" in again.stdout) == (0, True)
        assert json.loads((project / ".local" / "stack.json").read_text()) == said
        assert httpx.get(f"{said['api_url']}/jobs/", timeout=60).json()["jobs"] == []
        ministack = psutil.Process(said["pid"])
        everything = [ministack, *ministack.children(recursive=True)]
    finally:
        down = make(project, "down")
    assert down.returncode == 0
    assert down.stdout.splitlines()[-1].startswith("Stopped")
    assert [process for process in everything if alive(process)] == []
    left = {path.name for path in (project / ".local").iterdir()}
    assert left == {"layers", "cache", "cloud-venv", "build", "cloud.log"}


@pytest.fixture
def elsewhere(tmp_path: Path, free_port: int) -> Iterator[str]:
    """The URL of an emulator that `make up` did not start."""
    ministack.start(tmp_path, free_port)
    yield f"http://127.0.0.1:{free_port}"
    ministack.stop(tmp_path)


def test_the_same_deploy_works_on_an_emulator_that_is_there(elsewhere: str) -> None:
    environment = {**os.environ, "AWS_ENDPOINT_URL": elsewhere, "AWS_ACCESS_KEY_ID": "test"}
    done = subprocess.run(
        [sys.executable, "-m", "infra", "deploy", "--stage", "test"],
        env=environment | {"AWS_SECRET_ACCESS_KEY": "test"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UploadBucket: sluice-test-upload-" in done.stdout
    base = f"{elsewhere}/_aws/execute-api/sluice/api"
    described = httpx.get(f"{base}/openapi.json", timeout=60).json()
    assert [server["url"] for server in described["servers"]] == [base]


def test_what_a_deleted_stage_leaves_is_taken_over_by_the_next_of_its_name(
    elsewhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    account, built = (
        Account(elsewhere, "us-east-1", "test", "test"),
        build("prod", "x86_64", "none"),
    )
    s3, cloudformation = account.s3(), account.cloudformation()
    dynamodb = account.session().client("dynamodb", endpoint_url=elsewhere)
    kept = ("UploadBucket", "OutputBucket", "JobsTable")
    first = deploy(built, account)
    s3.put_object(Bucket=first["UploadBucket"], Key="film", Body=b"somebody's")
    row = {"pk": {"S": "job#1"}, "sk": {"S": "job"}}
    dynamodb.put_item(TableName=first["JobsTable"], Item=row)

    with pytest.raises(ClientError, match="TerminationProtection"):
        cloudformation.delete_stack(StackName="sluice-prod")
    delete("prod", account)
    said = capsys.readouterr().out
    assert all(first[name] in said for name in kept)
    assert "Contents" not in s3.list_objects_v2(Bucket="sluice-artifacts-000000000000-us-east-1")
    assert not delete("prod", account)

    second = deploy(built, account)
    assert [second[name] for name in kept] == [first[name] for name in kept]
    assert second["RestAPIId"] != first["RestAPIId"]
    assert s3.get_object(Bucket=first["UploadBucket"], Key="film")["Body"].read() == b"somebody's"
    assert dynamodb.get_item(TableName=first["JobsTable"], Key=row)["Item"] == row
    resources = cloudformation.describe_stack_resources(StackName="sluice-prod")["StackResources"]
    assert set(kept) <= {resource["LogicalResourceId"] for resource in resources}
    (stack,) = cloudformation.describe_stacks(StackName="sluice-prod")["Stacks"]
    assert stack["EnableTerminationProtection"]


def test_a_film_at_work_survives_a_deployment_of_another_plan_format_and_the_way_back(
    project: Path, tmp_path: Path
) -> None:
    """In both directions: the old version started the job, and meets the plan of its successor."""
    minutes = tmp_path / "film.mp4"
    film(minutes, size="160x96", rate="10", seconds=120, output=("-g", "20"))
    module = project / "chalicelib" / "model" / "plan.py"
    other = re.sub(r"^FORMAT = \d+$", "FORMAT = 99", module.read_text(), flags=re.MULTILINE)
    module.write_text(other.replace('tag="chunk"', 'tag="span"'))
    with cloud.running("test") as stack, Client(stack) as client:
        account = Account(stack.aws_endpoint_url, stack.region, "test", "test")

        def begun(generation: int) -> str:
            """Start a film; return when some parts are encoded and others wait in their queue."""
            job_id = client.upload(minutes, "transcode_720p", "hls_720p")
            until(lambda: client.job(job_id)["progress"] > 5, 120)
            encodes(at_once=False)
            assert planned_by(job_id) == generation
            return job_id

        def planned_by(job_id: str) -> int:
            key = {"pk": {"S": f"job#{job_id}"}, "sk": {"S": "job"}}
            table = client.aws("dynamodb")
            row = table.get_item(TableName=stack.jobs_table, Key=key)["Item"]
            return int(row["generation"]["S"].partition("-")[0])

        def encodes(*, at_once: bool) -> None:
            lambdas = client.aws("lambda")
            found = lambdas.list_event_source_mappings(FunctionName="sluice-test-encode")
            for mapping in found["EventSourceMappings"]:
                lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=at_once)

        def ended(job_id: str, generation: int) -> None:
            encodes(at_once=True)
            job = client.wait(job_id, 400, 1)
            assert (job["status"], job["error"], job["warnings"]) == ("SUCCESS", "", [])
            assert planned_by(job_id) == generation
            urls = {output["type"]: output["url"] for output in job["outputs"]}
            assert frames(io.BytesIO(client.http.get(urls["transcode_720p"]).content)) == 1200
            assert frames(urls["hls_720p"]) == 1200

        first = begun(FORMAT)
        said = make(
            project,
            *("deploy", "STAGE=test", "AUTH=none"),
            AWS_ENDPOINT_URL=stack.aws_endpoint_url,
            AWS_DEFAULT_REGION=stack.region,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        )
        assert said.returncode == 0, said.stdout + said.stderr
        assert "1 jobs are at work" in said.stdout
        ended(first, 99)
        second = begun(99)
        deploy(build("test", auth="none"), account)
        ended(second, FORMAT)


def test_up_on_an_emulator_that_is_there_never_writes_the_callers_secret_down(
    project: Path, elsewhere: str
) -> None:
    variables = {"AWS_ENDPOINT_URL": elsewhere, "AWS_SECRET_ACCESS_KEY": "my own"}
    first = make(project, "up", **variables)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Already up" in make(project, "up", **variables).stdout
    assert "my own" not in (project / ".local" / "stack.json").read_text()
    assert make(project, "down").returncode == 0
    assert httpx.get(f"{elsewhere}/_ministack/health").status_code == 200


def test_a_cloud_that_is_not_there_is_a_sentence(project: Path, free_port: int) -> None:
    nowhere = make(
        project,
        *("deploy", "STAGE=local"),
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port}",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
    )
    assert nowhere.returncode != 0
    assert "Could not connect" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr


def test_the_store_keeps_its_contract_here_too(elsewhere: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", Path(__file__).with_name("test_store.py")],
        env={**os.environ, "SLUICE_TEST_ENDPOINT_URL": elsewhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
