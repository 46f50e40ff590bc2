"""The commands behind the Makefile's targets: `python -m infra …`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterable

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.operations.recipes import InvalidRecipes
from chalicelib.settings import InvalidSetting
from chalicelib.store.queues import QUEUES
from infra.deploying.account import Account, account_limits, with_region
from infra.deploying.build import AUTHS, build
from infra.deploying.deploy import delete, deploy
from infra.deploying.errors import BuildError, BundleError, DeployError
from infra.deploying.guards import refuse_unchosen, refuse_unconfirmed
from infra.local import cloud
from infra.local.ministack import EmulatorError
from infra.operating import dead_letters
from infra.paths import ROOT
from infra.stack.catalogue import STAGE_NAME
from layers.build import LayerError


def main() -> int:
    chosen = argument_parser().parse_args()
    # SIGTERM ends by SystemExit, so that what is running is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _run(chosen)
    except (
        BuildError,
        BundleError,
        DeployError,
        EmulatorError,
        InvalidRecipes,
        InvalidSetting,
        LayerError,
    ) as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        where = os.environ.get("AWS_ENDPOINT_URL") or "AWS, for AWS_ENDPOINT_URL is not set"
        print(f"{error}\n(This spoke to {where}.)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(chosen: argparse.Namespace) -> None:
    endpoint_url = os.environ.get("AWS_ENDPOINT_URL") or None
    # `make env` sets both variables: its shell means our own local cloud, even while that is down.
    ours = endpoint_url == os.environ.get("SLUICE_LOCAL_ENDPOINT_URL")
    match chosen.command:
        case "up" if endpoint_url and not ours:
            cloud.up_elsewhere(chosen.stage, endpoint_url, chosen.auth)
        case "up":
            cloud.up(chosen.stage, chosen.port, chosen.auth)
        case "down":
            stopped = "Stopped: its files, outputs and jobs are gone with it"
            print(stopped if cloud.down() else "Nothing was up")
        case "env":
            _print_environment()
        case "package":
            print(build(chosen.stage, chosen.arch, chosen.auth).folder)
        case "deploy":
            account = with_region(Account(endpoint_url))
            refuse_unchosen(chosen.stage, chosen.auth, account)
            limits = account_limits(chosen.stage, account)
            outputs = deploy(build(chosen.stage, chosen.arch, chosen.auth, limits), account)
            for name, value in sorted(outputs.items()):
                print(f"{name}: {value}")
        case "delete":
            account = with_region(Account(endpoint_url))
            refuse_unconfirmed(chosen.stage, chosen.confirm, account)
            if not delete(chosen.stage, account):
                print(f"There is no stack of {chosen.stage}.")
        case "dlq":
            account = with_region(Account(endpoint_url))
            _dead_letters(dead_letters.of_stage(chosen.stage, account), chosen)


def _dead_letters(stage: dead_letters.Stage, chosen: argparse.Namespace) -> None:
    """Print a stage's dead letters, or what becomes of each: a line for one, of words or JSON."""
    if chosen.action == "redrive":
        told: Iterable[dead_letters.Told] = dead_letters.redrive(stage, chosen.queue)
    else:
        found = dead_letters.listing(stage, chosen.queue)
        told = [*found.letters, *found.aside]
    for each in told:
        line = msgspec.json.encode(each).decode()
        print(line if chosen.json else dead_letters.sentence(each), flush=True)


def _print_environment() -> None:
    """Print `export` lines for the cloud that is up: variables of the AWS CLI, and of the API for curl."""
    stack = cloud.read()
    if stack is None:
        raise EmulatorError("Nothing is up: run `make up` first.")
    variables = {
        "API": stack.api_url,
        "UPLOAD_BUCKET": stack.upload_bucket,
        "OUTPUT_BUCKET": stack.output_bucket,
        "JOBS_TABLE": stack.jobs_table,
        "AWS_ENDPOINT_URL": stack.aws_endpoint_url,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": stack.access_key_id,
        "AWS_SECRET_ACCESS_KEY": stack.secret_access_key,
    }
    if stack.pid is not None:
        variables["SLUICE_LOCAL_ENDPOINT_URL"] = stack.aws_endpoint_url
    if stack.api_key:
        variables["API_KEY"] = stack.api_key
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    # The project's environment has the AWS CLI.
    print(f"export PATH={shlex.quote(str(ROOT / '.venv' / 'bin'))}:$PATH")


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the local cloud with the stack on it")
    up.add_argument("--port", type=int, default=cloud.DEFAULT_PORT)
    commands.add_parser("down", help="stop it")
    commands.add_parser("env", help="shell variables for the cloud that is up")
    package = commands.add_parser("package", help="make what is deployed")
    deploy_ = commands.add_parser("deploy", help="create or update the stack of a stage")
    delete_ = commands.add_parser("delete", help="delete it; buckets and table stay")
    dlq = commands.add_parser("dlq", help="list dead letters with their jobs, or send them back")
    dlq.add_argument("action", choices=("ls", "redrive"))
    dlq.add_argument("--queue", choices=QUEUES, help="only those that came from this queue")
    dlq.add_argument("--json", action="store_true", help="an object in JSON on each line")
    for command in (up, package, deploy_, delete_, dlq):
        command.add_argument("--stage", type=_stage, default="local" if command is up else "prod")
    delete_.add_argument("--confirm", help="the stage's name, typed once more")
    for command in (package, deploy_):
        command.add_argument("--arch", choices=("x86_64", "arm64"))
    for command in (up, package, deploy_):
        command.add_argument("--auth", choices=AUTHS)
    return parser


def _stage(text: str) -> str:
    if not STAGE_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot name a stage: at most 20 small letters, digits and single hyphens, "
            "the first one a letter."
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
