"""Runs LocalStack without Docker and without downloads, in the Python of .local/localstack-venv.

Three of its parts are replaced. Functions run as processes of this machine (worker.py) instead of in Docker.
Another server provides DynamoDB, instead of a downloaded one. The gateway listens on the given address only,
while LocalStack's own listens on every interface. As in the Community image, layers are stored, not applied.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from localstack.aws.forwarder import AwsRequestProxy
from localstack.runtime.main import main
from localstack.runtime.server.twisted import TwistedRuntimeServer
from localstack.services.dynamodb.server import DynamodbServer
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.plugins import DockerRuntimeExecutorPlugin
from rolo.serving.twisted import TwistedGateway
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint

_WORKER = Path(__file__).with_name("worker.py")
_FUNCTION_PYTHON = os.environ["FUNCTION_PYTHON"]
_DYNAMODB_URL = os.environ["DYNAMODB_URL"]
_PR_SET_PDEATHSIG = 1


class ProcessExecutor:
    """A LocalStack runtime executor: one sandbox of a function."""

    def __init__(self, id: str, function_version: Any) -> None:
        self.id = id
        self.function_version = function_version

    def start(self, env_vars: dict[str, Any]) -> None:
        self._environment = {name: str(value) for name, value in env_vars.items()} | {
            "PATH": os.defpath,
            "HOME": tempfile.gettempdir(),
            "TMPDIR": tempfile.gettempdir(),
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the sandbox lives
        self._launch()

    def _launch(self) -> None:
        config = self.function_version.config
        ours, theirs = os.pipe()
        self._answers = os.fdopen(ours)
        self._process = subprocess.Popen(
            [
                *(_FUNCTION_PYTHON, "-s", "-P", str(_WORKER)),
                *(str(config.code.get_unzipped_code_location()), str(theirs)),
            ],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs],
            text=True,
            bufsize=1,
        )
        os.close(theirs)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        begin = self._log.seek(0, os.SEEK_END)
        if self._process.poll() is not None:  # it ended in the last invocation, or that timed out
            self._answers.close()
            self._launch()
        answer = self._ask(json.dumps(payload) + "\n")
        self._log.seek(begin)
        return InvocationResult(
            request_id=payload["invoke-id"],
            payload=answer["payload"].encode(),
            is_error=answer["failed"],
            logs=self._log.read().decode(errors="replace"),
        )

    def _ask(self, line: str) -> dict[str, Any]:
        timeout = self.function_version.config.timeout
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line)
            if select.select([self._answers], [], [], timeout)[0]:
                if answer := self._answers.readline():
                    message: dict[str, Any] = json.loads(answer)
                    return message
                why = "Runtime exited without an answer"
            else:
                why = f"Task timed out after {timeout} seconds"
        except BrokenPipeError:
            why = "Runtime exited before it was asked"
        self._process.kill()
        self._process.wait()
        return {"failed": True, "payload": json.dumps({"errorMessage": why})}

    # LocalStack asks for the host of functions: this machine.

    def get_address(self) -> str:
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        return "http://127.0.0.1/nobody-calls-this"

    def get_logs(self) -> str:
        return ""

    @classmethod
    def prepare_version(cls, function_version: Any) -> None:
        function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: Any) -> None:
        pass

    @classmethod
    def validate_environment(cls) -> bool:
        return True


class OtherDynamodb:
    """A DynamoDB server that runs elsewhere, with the interface of LocalStack's own."""

    url = _DYNAMODB_URL
    proxy = AwsRequestProxy(_DYNAMODB_URL)

    def start_dynamodb(self) -> bool:
        return True

    def stop_dynamodb(self) -> None:
        pass


def listen_there(_: Any, gateway: Any, listen: list[Any], _ssl_creds: Any = None) -> None:
    for there in listen:
        TCP4ServerEndpoint(reactor, there.port, interface=there.host).listen(
            TwistedGateway(gateway)
        )


if __name__ == "__main__":
    # It is killed with the trial that started it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    DockerRuntimeExecutorPlugin.load = lambda *_: ProcessExecutor
    dynamodb = OtherDynamodb()
    DynamodbServer.get = staticmethod(lambda: dynamodb)
    TwistedRuntimeServer.register = listen_there
    main()
