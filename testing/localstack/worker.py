"""A sandbox of one function, started by server.py.

Each line of standard input is an invocation in JSON; the answer is a line of JSON, written to the file
descriptor of the second argument, so that standard output is the function's log. It ends with standard input.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any


class Context:
    """The context that Lambda gives a handler."""

    function_version = "$LATEST"

    def __init__(self, request_id: str, arn: str) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline = time.monotonic() + float(os.environ["AWS_LAMBDA_FUNCTION_TIMEOUT"])

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._deadline - time.monotonic())))


def main(code: str, answers: int) -> None:
    os.chdir(code)
    sys.path.insert(0, code)
    handler: Callable[[Any, Context], Any] | None = None
    with os.fdopen(answers, "w", buffering=1) as out:
        for line in sys.stdin:
            invocation = json.loads(line)
            os.environ["_X_AMZN_TRACE_ID"] = invocation["trace-id"]
            try:
                handler = handler or _handler()
                event = json.loads(invocation["payload"] or "null")
                answer = handler(
                    event, Context(invocation["invoke-id"], invocation["invoked-function-arn"])
                )
                result = {"failed": False, "payload": json.dumps(answer)}
            except BaseException as error:
                traceback.print_exc()
                failure = {"errorType": type(error).__name__, "errorMessage": str(error)}
                result = {"failed": True, "payload": json.dumps(failure)}
            sys.stdout.flush()
            sys.stderr.flush()
            out.write(json.dumps(result) + "\n")


def _handler() -> Callable[[Any, Context], Any]:
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    handler: Callable[[Any, Context], Any] = getattr(importlib.import_module(module), name)
    return handler


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
