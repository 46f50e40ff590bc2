"""The functions, queues and layers of the stack, and the names of its resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chalice.utils import to_cfn_resource_name

from chalicelib.model.pools import AUDIO, ENCODE, PACKAGE, PICTURES, POOLS
from chalicelib.store.queues import DEAD_LETTERS, EVENTS, QUEUES

type Json = dict[str, object]

# The stage is part of every name. A bucket's name has at most 63 characters, the strictest limit.
STAGE_NAME = re.compile(r"[a-z]([a-z0-9]|-(?=[a-z0-9])){0,19}")

UPLOAD_BUCKET = "${AWS::StackName}-upload-${AWS::AccountId}-${AWS::Region}"
OUTPUT_BUCKET = "${AWS::StackName}-output-${AWS::AccountId}-${AWS::Region}"
JOBS_TABLE = "${AWS::StackName}-jobs"


@dataclass(frozen=True)
class Function:
    """A Lambda: the queue that starts it, the queues that it may send to, the layer that it needs."""

    name: str
    queue: str | None = None
    sends: tuple[str, ...] = ()
    layer: str | None = None
    big_disk: bool = False

    @property
    def logical_id(self) -> str:
        """Chalice's logical id of the function."""
        return "APIHandler" if self.name == "api" else to_cfn_resource_name(self.name)

    @property
    def config_name(self) -> str:
        """The function's name in .chalice/config.json."""
        return "api_handler" if self.name == "api" else self.name

    @property
    def log_group_id(self) -> str:
        """Chalice's logical id of the log group; the API's is not made of the function's id."""
        return f"{to_cfn_resource_name(self.config_name)}LogGroup"

    @property
    def role_id(self) -> str:
        return f"{self.logical_id}Role"


@dataclass(frozen=True)
class Queue:
    """A queue that a function consumes; `concurrency` is how many messages are in work at once at most."""

    name: str
    concurrency: int | None

    @property
    def logical_id(self) -> str:
        return f"{to_cfn_resource_name(self.name)}Queue"


# Messages in work at once on AWS, so that a flood of uploads leaves room for the rest of the account.
# The other queues need no limit: they fill only as fast as encodes end, which are limited. A queue without a
# limit also costs less: while it is empty, two pollers ask it all month, not five.
_CONCURRENCY = {"intake": 50, "pictures": 50, "encode": 500, "audio": 100, "events": 50}

SOURCE_QUEUES = tuple(Queue(name, _CONCURRENCY.get(name)) for name in QUEUES)

# Files that are probed for estimates at once: few, so that they leave room for everything else.
ESTIMATES = 5

# Messages of one invocation, where each takes a moment. Tasks that can take minutes come alone: the second
# one would have less time.
BATCH_SIZES = {"intake": 5, "pictures": 5}


def _pool(name: str, *sends: str, decodes: bool = True) -> Function:
    """A pool of workers. It may send to intake, which plans jobs of other versions again, and to events.

    Those that decode get FFmpeg and a large disk.
    """
    layer = "ffmpeg" if decodes else None
    return Function(name, name, (*sends, "intake", EVENTS), layer, big_disk=decodes)


FUNCTIONS = (
    Function("api", sends=("intake", EVENTS)),
    Function("estimate", layer="pyav"),
    Function("intake", "intake", (*POOLS, EVENTS), layer="pyav"),
    _pool(PICTURES),
    _pool(ENCODE, PACKAGE, PICTURES),  # storyboards
    _pool(AUDIO, PACKAGE),
    _pool(PACKAGE, decodes=False),
    Function(EVENTS, EVENTS, (EVENTS,)),
    Function("dead_letters", DEAD_LETTERS),
    Function("sweep", sends=("intake", EVENTS)),
)

LAYERS = tuple(dict.fromkeys(function.layer for function in FUNCTIONS if function.layer))


def queue_id(queue: str) -> str:
    return f"{to_cfn_resource_name(queue)}Queue"


def layer_id(layer: str) -> str:
    return f"{to_cfn_resource_name(layer)}Layer"


def dashed(name: str) -> str:
    """The form that a name has in AWS: hyphens instead of underscores."""
    return name.replace("_", "-")


def ref(logical_id: str) -> Json:
    return {"Ref": logical_id}


def sub(text: str, values: Mapping[str, object] | None = None) -> Json:
    return {"Fn::Sub": [text, dict(values)] if values else text}


def arn(logical_id: str) -> Json:
    """The ARN of a resource, by Fn::Sub: Chalice merges its own Fn::Sub into a Fn::GetAtt and keeps both."""
    return sub(f"${{{logical_id}.Arn}}")
