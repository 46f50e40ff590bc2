"""The project's commands: `python -m infra up|down|package|deploy|delete`, behind the Makefile's targets."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from chalicelib.settings import InvalidSetting
from infra import cloud
from infra.build import BuildError, build
from infra.deploy import AUTHS, Account, DeployError, delete, deploy, refuse_unchosen
from infra.emulator import EmulatorError
from layers.build import LayerError


def main() -> int:
    chosen = _arguments().parse_args()
    # Stopped from outside, we still clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _run(chosen)
    except (BuildError, DeployError, EmulatorError, InvalidSetting, LayerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(chosen: argparse.Namespace) -> None:
    endpoint_url = os.environ.get("AWS_ENDPOINT_URL") or None
    match chosen.command:
        case "up" if endpoint_url:
            cloud.up_elsewhere(chosen.stage, endpoint_url, chosen.auth)
        case "up":
            cloud.up(chosen.stage, chosen.port, chosen.auth)
        case "down":
            print("Stopped" if cloud.down() else "Nothing was up")
        case "package":
            print(build(chosen.stage, chosen.arch, chosen.auth).folder)
        case "deploy":
            account = Account(endpoint_url)
            refuse_unchosen(chosen.stage, chosen.auth, account)
            outputs = deploy(build(chosen.stage, chosen.arch, chosen.auth), account)
            for name, value in sorted(outputs.items()):
                print(f"{name}: {value}")
        case "delete":
            delete(chosen.stage, Account(endpoint_url))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the local cloud with the stack on it")
    up.add_argument("--port", type=int, default=cloud.DEFAULT_PORT)
    commands.add_parser("down", help="stop it")
    package = commands.add_parser("package", help="make what is deployed")
    push = commands.add_parser("deploy", help="create or update the stack of a stage")
    gone = commands.add_parser("delete", help="delete it; buckets and table stay")
    for command in (up, package, push, gone):
        command.add_argument("--stage", default="local" if command is up else "prod")
    for command in (package, push):
        command.add_argument("--arch", choices=("x86_64", "arm64"))
    for command in (up, package, push):
        command.add_argument("--auth", choices=AUTHS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
