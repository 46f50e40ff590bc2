"""What the stack is made of, and what its parts are called: the facts that every other part shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chalice.utils import to_cfn_resource_name

from chalicelib.store.queues import DEAD_LETTERS, QUEUES

type Json = dict[str, object]

# Stages that live and die with an emulator: nothing is retained, and plain http must do.
LOCAL_STAGES = ("local", "test", "corpus")

# Part of the names of everything: a bucket's, of which S3 takes 63 characters, is the strictest.
STAGE_NAME = re.compile(r"[a-z]([a-z0-9]|-(?=[a-z0-9])){0,19}")

UPLOAD_BUCKET = "${AWS::StackName}-upload-${AWS::AccountId}-${AWS::Region}"
OUTPUT_BUCKET = "${AWS::StackName}-output-${AWS::AccountId}-${AWS::Region}"
JOBS_TABLE = "${AWS::StackName}-jobs"


@dataclass(frozen=True)
class Function:
    """A Lambda: what starts it, what it may send to, which layer it needs."""

    name: str
    queue: str | None = None
    sends: tuple[str, ...] = ()
    layer: str | None = None
    big_disk: bool = False

    @property
    def logical_id(self) -> str:
        """As Chalice names it."""
        return "APIHandler" if self.name == "api" else to_cfn_resource_name(self.name)

    @property
    def config_name(self) -> str:
        """Its name in .chalice/config.json."""
        return "api_handler" if self.name == "api" else self.name

    @property
    def log_group_id(self) -> str:
        """As Chalice names the log group, which for the API differs from the function's id."""
        return f"{to_cfn_resource_name(self.config_name)}LogGroup"

    @property
    def role_id(self) -> str:
        return f"{self.logical_id}Role"


@dataclass(frozen=True)
class Queue:
    name: str
    concurrency: int | None

    @property
    def logical_id(self) -> str:
        return f"{to_cfn_resource_name(self.name)}Queue"


# Messages in work at once on AWS, so that a flood of uploads leaves room for the rest of the account.
# Packages and dead letters come only as fast as encodes end, which are limited; and a queue without a limit
# of its own is asked by two pollers while it is empty, not by five, each all month.
_CONCURRENCY = {"intake": 50, "thumbnail": 50, "watermark": 50, "encode": 500}

SOURCE_QUEUES = tuple(Queue(name, _CONCURRENCY.get(name)) for name in QUEUES)

# So many files are looked at for estimates at once; no more, so that they leave room for all else.
ESTIMATES = 5

# Messages of one invocation, where each takes a moment. Of what can take minutes, one: whoever comes second
# would have less time.
BATCH_SIZES = {"intake": 5, "thumbnail": 5, "watermark": 5}

# The queues of tasks that need no other, and of those that need a rendition.
_FIRST = ("thumbnail", "watermark", "encode")
_PACKAGING = ("watermark", "transcode_720p", "hls_720p")


def _step(name: str, *sends: str, decodes: bool = False) -> Function:
    """What works on tasks. Any may meet a job that another version has planned: intake plans it again.

    FFmpeg runs where parts of a film are decoded; pictures and packages are made without.
    """
    layer = "ffmpeg" if decodes else None
    return Function(name, name, (*sends, "intake"), layer, big_disk=decodes)


FUNCTIONS = (
    Function("api", sends=("intake",)),
    Function("estimate", layer="pyav"),
    Function("intake", "intake", tuple(dict.fromkeys((*_FIRST, *_PACKAGING))), layer="pyav"),
    _step("thumbnail", decodes=True),
    _step("watermark"),
    _step("encode", *_PACKAGING, decodes=True),
    _step("transcode_720p"),
    _step("hls_720p"),
    Function("dead_letters", DEAD_LETTERS),
    Function("sweep", sends=("intake",)),
)

LAYERS = tuple(dict.fromkeys(function.layer for function in FUNCTIONS if function.layer))


def queue_id(queue: str) -> str:
    return f"{to_cfn_resource_name(queue)}Queue"


def layer_id(layer: str) -> str:
    return f"{to_cfn_resource_name(layer)}Layer"


def dashed(name: str) -> str:
    """As names in AWS read: our underscores become hyphens."""
    return name.replace("_", "-")


def ref(logical_id: str) -> Json:
    return {"Ref": logical_id}


def sub(text: str, values: Mapping[str, object] | None = None) -> Json:
    return {"Fn::Sub": [text, dict(values)] if values else text}


def arn(logical_id: str) -> Json:
    """An ARN as Fn::Sub, for Chalice's merge would keep its own Fn::Sub beside a Fn::GetAtt."""
    return sub(f"${{{logical_id}.Arn}}")
