"""The local cloud: an emulator with the real stack on it, for as long as a test, or until `make down`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.deploying.account import Account
from infra.deploying.build import Build, build
from infra.deploying.cloudformation import stack_name
from infra.deploying.deploy import api_url, delete, deploy
from infra.local import ministack
from infra.local.gaps import fill_gaps
from infra.local.ministack import EmulatorError
from infra.paths import LOCAL
from sluice.stack import Stack

DEFAULT_PORT = 4566
_REGION = "us-east-1"
# Requests that a browser's page sends at once.
_PAGE_REQUESTS = 8

# Credentials that MiniStack takes for the account's root; it does not check their secret.
_ROOT = ("test", "test")


def up(stage: str, port: int, auth: str | None = None) -> Stack:
    """Start the local cloud with the stack on it and leave it running; nothing happens where it is up.

    Raises EmulatorError where it is up on another port, or cannot be started.
    """
    built = build(stage, auth=auth)
    running_here, stack = ministack.find(LOCAL), read(LOCAL)
    if running_here:
        if running_here.port != port:
            raise EmulatorError(
                f"The local cloud is already up on port {running_here.port}: "
                f"stop it with `make down`, or leave PORT={port} away."
            )
        if stack and stack.build == built.digest:
            print(f"Already up: {stack.api_url}")
            return stack
        print("The sources have changed: starting anew")
    # MiniStack rolls back updates that change routes, so that any change means a new start.
    ministack.stop(LOCAL)
    if stack and stack.pid is not None:
        _file(LOCAL).unlink()
    try:
        stack = _start(built, LOCAL, port)
        warm(stack)
    except BaseException:
        ministack.stop(LOCAL)
        raise
    return stack


def warm(stack: Stack) -> None:
    """Start as many workers of the API as a page needs: beside films at work, each takes seconds."""

    def request() -> None:
        httpx.get(f"{stack.api_url}/openapi.json", timeout=300, trust_env=False)

    with ThreadPoolExecutor(_PAGE_REQUESTS) as pool:
        for response in [pool.submit(request) for _ in range(_PAGE_REQUESTS)]:
            response.result()


def up_elsewhere(stage: str, endpoint_url: str, auth: str | None = None) -> Stack:
    """Deploy the stack to an emulator that somebody else has started; nothing happens where it is there.

    The caller's own credentials are not used, for stack.json would hold them.
    """
    built = build(stage, auth=auth)
    region = os.environ.get("AWS_DEFAULT_REGION", _REGION)
    account = Account(endpoint_url.rstrip("/"), region, *_ROOT)
    stack = read(LOCAL)
    if stack and (stack.aws_endpoint_url, stack.build) == (account.endpoint_url, built.digest):
        print(f"Already up: {stack.api_url}")
        return stack
    delete(stage, account)
    return put_stack(built, account, LOCAL)


def down() -> bool:
    """Stop what `up` started and remove its files; False if nothing was up.

    Also removes what killed demos and tests left.
    """
    for folder in (LOCAL / "run").glob("*"):
        if not _owned(folder):
            ministack.stop(folder)
            shutil.rmtree(folder, ignore_errors=True)
    stack = read(LOCAL)
    ran = ministack.stop(LOCAL)
    if stack and stack.pid is None and not ran:
        delete(
            stack.stage,
            Account(
                stack.aws_endpoint_url, stack.region, stack.access_key_id, stack.secret_access_key
            ),
        )
        ran = True
    _file(LOCAL).unlink(missing_ok=True)
    return ran


@contextmanager
def running(
    stage: str = "test", port: int | None = None, auth: str | None = None
) -> Iterator[Stack]:
    """A local cloud of its own, beside any other, for as long as the context lasts."""
    built = build(stage, auth=auth)
    port = port or free_port()
    folder = LOCAL / "run" / str(port)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "owner").write_text(str(os.getpid()))
    # SIGTERM ends by SystemExit, so that the cloud is stopped.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield _start(built, folder, port)
    finally:
        ministack.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _owned(folder: Path) -> bool:
    """Whether the process that uses this folder's cloud is alive."""
    try:
        return psutil.pid_exists(int((folder / "owner").read_text()))
    except (FileNotFoundError, ValueError):
        return False


def read(folder: Path = LOCAL) -> Stack | None:
    """The stack that stack.json describes; None where nothing is up."""
    try:
        stored = json.loads(_file(folder).read_text())
    except FileNotFoundError:
        return None
    return Stack(**{field.name: stored.get(field.name) for field in fields(Stack)})


def _start(built: Build, folder: Path, port: int) -> Stack:
    print(f"Starting MiniStack on 127.0.0.1:{port}", flush=True)
    started = ministack.start(folder, port)
    account = Account(f"http://127.0.0.1:{port}", _REGION, *_ROOT)
    return put_stack(built, account, folder, pid=started.pid)


def put_stack(built: Build, account: Account, folder: Path, pid: int | None = None) -> Stack:
    """Deploy to an emulator and write stack.json to `folder`; `pid` is of the emulator, where it is ours."""
    assert account.endpoint_url
    assert account.region
    outputs = deploy(built, account)
    if pid:
        fill_gaps(built.folder / "sam.json", account, outputs)
    key, secret = _developer(account) if pid else (account.access_key_id, account.secret_access_key)
    assert key
    assert secret
    stack = Stack(
        stage=built.stage,
        api_url=api_url(built.stage, account),
        aws_endpoint_url=account.endpoint_url,
        region=account.region,
        access_key_id=key,
        secret_access_key=secret,
        upload_bucket=outputs["UploadBucket"],
        output_bucket=outputs["OutputBucket"],
        jobs_table=outputs["JobsTable"],
        intake_queue_url=outputs["IntakeQueueUrl"],
        api_key=_api_key(account, outputs.get("ApiKeyId")),
        pid=pid,
        build=built.digest,
    )
    _write(folder, stack)
    print(f"{stack_name(built.stage)} is up: {stack.api_url}")
    return stack


def _developer(account: Account) -> tuple[str, str]:
    """Credentials of a new user: MiniStack checks a user's signatures, but not those of root."""
    iam: Any = account.session().client("iam", endpoint_url=account.endpoint_url)
    iam.create_user(UserName="developer")
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_user_policy(
        UserName="developer",
        PolicyName="everything-in-this-cloud",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )
    key = iam.create_access_key(UserName="developer")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _api_key(account: Account, key_id: str | None) -> str | None:
    if key_id is None:
        return None
    gateway: Any = account.session().client("apigateway", endpoint_url=account.endpoint_url)
    value: str = gateway.get_api_key(apiKey=key_id, includeValue=True)["value"]
    return value


def _file(folder: Path) -> Path:
    return folder / "stack.json"


def _write(folder: Path, stack: Stack) -> None:
    """Write stack.json, which nobody else can read at any moment: it holds credentials."""
    present = {name: value for name, value in asdict(stack).items() if value is not None}
    part = _file(folder).with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write(json.dumps(present, indent=2) + "\n")
    part.rename(_file(folder))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
