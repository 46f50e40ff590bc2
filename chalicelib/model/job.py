"""What store/ returns: a job, its tasks, its progress, its upload, and the identities that stand for it."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.model import filenames
from chalicelib.model.event import Delivery, Event
from chalicelib.model.result import Result
from chalicelib.model.step import TERMINAL, StepState
from chalicelib.model.usage import Used, total

FREE, RUNNING, DONE, FAILED = "free", "running", "done", "failed"  # of a task

Pipeline = list[str | dict[str, Any]]  # names of steps, or steps with their parameters


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was read. A float moment is in Unix seconds, a string moment in ISO 8601."""

    job_id: str
    status: str
    owner: str  # of its file
    source_key: str
    filename: str = ""  # as the client gave it; "": the name is taken from the key
    created: str  # `created_at` and `job_id`: unique, and sorts by time
    created_at: str
    updated_at: str
    pipeline: Pipeline
    recipe: str = ""  # which it was asked for by, or follows, with its version: `web@3f2a9c`
    # In pipeline order; {} before the start. In a canceled job, CANCELED where a step had not ended.
    step_statuses: dict[str, str] = {}
    # What steps had come to when rows of jobs still said it; what they come to now is in an item of its own.
    former_states: dict[str, StepState] = {}
    warning: str = ""  # a sentence: what of the client's wishes was left out
    etag: str = ""  # of the source's version that the job reads; "" before it is chosen
    announced_size: int | None = None  # bytes that the upload is to have; None: nobody said it
    checksum_crc64nvme: str = ""  # of the source, in Base64; "" where S3 has none
    duration: float | None = None  # seconds; None for images
    encoding: str = ""  # a sentence: how a film is encoded, and why
    error: str = ""
    error_code: str = ""
    generation: str = ""  # of the code whose plan it follows; "" before there is a plan
    started_by: str = ""  # the first generation
    starter: str = ""  # id of the message to intake that started its present plan
    replanned: bool = False  # whether another generation has planned it again since its start
    tries: int = 0  # of intake, without the first try of each message
    last_error: str = ""  # of intake
    max_usd: float | None = None  # the client's limit of its cost
    charged_usd: float = 0  # to its owner's budget
    awaits_upload: bool = False
    awaits_copy: bool = False  # it starts when the copy of its source is stored
    used: list[Used] | None = None  # intake's while the job runs, the whole job's once it has ended
    parts: dict[
        str, float
    ] = {}  # of each step in that, once it has ended; {} where nobody can tell
    reached: tuple[int, ...] = ()  # percent of a canceled job, and of each of its steps
    retry_of: str = ""  # id of the job that this one retries
    anew: bool = False  # whether nothing of that one is used again
    is_told: bool = False  # whether its owner had an endpoint when it was created
    takes_original: bool = False  # of a tombstone: whether the source goes, too
    deadline_at: float  # when the sweep ends it
    due_at: float | None = None  # when the sweep looks at it next; None: never
    looks: int = 0  # looks of the sweep in a row without progress
    seen: int = 0  # how many tasks had ended at the sweep's last look

    @property
    def shown_name(self) -> str:
        """The name of its source file."""
        return self.filename or filenames.of_key(self.source_key)

    @property
    def usage(self) -> list[Used] | None:
        """What it used, by function; None before the job has ended."""
        if self.status not in TERMINAL or self.used is None:
            return None
        return total(self.used)


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task that was claimed: its lease, its tries and its result."""

    task_id: str
    state: str  # FREE, RUNNING, DONE or FAILED
    owner: str | None = None  # the invocation that has, or had, the lease
    lease_until: float | None = (
        None  # Unix seconds; of a FREE task, when its pause ends; None once it has ended
    )
    attempts: int = 0
    result: Result | None = None  # None until it has ended
    last_error: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a job's running tasks, and the costs of their groups."""

    generation: str
    started_at: float  # Unix seconds
    shares: dict[
        str, dict[str, float]
    ]  # for each step, the groups that it needs, and the cost of each
    sizes: dict[str, int]  # tasks in each group
    percents: dict[str, float]  # of each running task, by its id


class StepStates(msgspec.Struct, frozen=True):
    """What the steps of a job have come to; of those that have come to nothing yet nothing is said."""

    states: dict[str, StepState] = {}


class JobProgress(msgspec.Struct, frozen=True):
    """How far a job is."""

    progress: Progress | None  # None where the job follows no plan of this generation
    ended: frozenset[str]  # ids of tasks that ended well and that others need
    states: dict[str, StepState] = {}  # of all steps, in pipeline order
    metadata: dict[str, str] = {}  # the client's own


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an upload: that a presigned URL was handed out for it, and to whom."""

    owner: str  # who asked for it
    ticket_job_id: str | None  # the job that waits for the upload
    filename: str = ""  # as the client gave it
    metadata: dict[str, str] = {}  # likewise
    size: int | None = None  # bytes, as announced
    open_until: int | None = (
        None  # Unix seconds: when its last part is signed; None: it has no parts
    )
    arrived: str | None = None  # the S3 event of the upload


class Claimed(msgspec.Struct, frozen=True):
    """The job that an identity stands for, and what distinguishes the requests or events that ask for it."""

    job_id: str
    fingerprint: str = ""  # of a request with an Idempotency-Key
    sequencer: str = ""  # of the latest S3 event


class Charge(msgspec.Struct, frozen=True):
    """A charge to the budget of a job's owner."""

    owner: str
    usd: float  # the job's estimated cost
    before: float  # US dollars charged for this job before


Value = (
    Job
    | TaskRecord
    | Progress
    | StepStates
    | frozenset[str]
    | Ticket
    | Claimed
    | Event
    | Delivery
    | dict[str, str]
)


class Item(msgspec.Struct, frozen=True):
    """A row of any kind, as it was read."""

    key: tuple[str, str]  # partition key, sort key
    due_at: float | None = None  # Unix seconds; None: the sweep need not look at it
    value: Value | None = None  # None for kinds of rows that are never read as an Item
    error: Exception | None = None  # why this version cannot read it
