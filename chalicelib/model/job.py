"""What is known of a job, as callers of store/ see it: the job, its steps, tasks, progress and upload."""

from __future__ import annotations

import msgspec

from chalicelib.model import filenames
from chalicelib.model.result import Result
from chalicelib.model.step import TERMINAL, StepState
from chalicelib.model.usage import Used, total

FREE, RUNNING, DONE, FAILED = "free", "running", "done", "failed"  # of a task


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was read. Moments are Unix seconds, but for the ISO 8601 strings `…_at` of the API."""

    job_id: str
    status: str
    owner: str  # of its file
    source_key: str
    filename: str = ""  # as the client gave it; "": as the key has it
    created: str  # `created_at` and `job_id`: unique, and sorts by time
    created_at: str
    updated_at: str
    pipeline: list[str]
    step_states: dict[str, StepState] = {}  # in pipeline order; {} before the job has started
    etag: str = ""  # of the source, once it is pinned
    duration: float | None = None  # seconds; None for images
    encoding: str = ""  # how a film is encoded, and why: a sentence
    error: str = ""
    error_code: str = ""
    generation: str = ""  # of the code whose plan it follows; "" before there is a plan
    started_by: str = ""  # the first generation
    starter: str = ""  # id of the message to intake by which it follows its plan
    replanned: bool = False  # whether another generation has planned it again since its start
    tries: int = 0  # of intake, beyond the first of each message
    last_error: str = ""  # of intake
    max_usd: float | None = None  # what it may cost, as its client said
    charged_usd: float = 0  # to its owner's budget
    awaits_upload: bool = False
    awaits_copy: bool = False  # before it is started
    used: list[Used] | None = None  # intake's while the job runs, the whole job's once it has ended
    deadline_at: float  # when the sweep ends it
    due_at: float | None = None  # when the sweep looks at it next; None: never
    looks: int = 0  # of the sweep in a row that found no progress
    seen: int = 0  # how much had ended at the sweep's last look

    @property
    def shown_name(self) -> str:
        """The name of its source file."""
        return self.filename or filenames.of_key(self.source_key)

    @property
    def usage(self) -> list[Used] | None:
        """What it used, by function; None before it has ended."""
        if self.status not in TERMINAL or self.used is None:
            return None
        return total(self.used)


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task that was claimed: who works on it until when, how often it was tried, what came of it."""

    task_id: str
    state: str  # FREE, RUNNING, DONE or FAILED
    owner: str | None = None  # the invocation that has, or had, the lease
    lease_until: float | None = (
        None  # Unix seconds; of a FREE task, when its pause ends; None once it has ended
    )
    attempts: int = 0
    result: Result | None = None  # what it ended with; None while it has not
    last_error: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the tasks of a job are that have not ended, and what their groups cost."""

    generation: str
    started_at: float  # Unix seconds
    shares: dict[
        str, dict[str, float]
    ]  # for each step, the groups that it takes and what each costs
    sizes: dict[str, int]  # of each group, how many tasks are in it
    percents: dict[str, float]  # of tasks


class JobProgress(msgspec.Struct, frozen=True):
    """How far a job is: its tasks at work, and the ids of those that others wait for and that ended well."""

    progress: Progress | None  # None where the job follows no plan of this generation
    ended: frozenset[str]


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An upload URL was handed out for a key: to whom, and the job that waits for the upload, if any."""

    owner: str
    ticket_job_id: str | None
    filename: str = ""  # as the client gave it
    arrived: str | None = None  # the S3 event of its upload


class Claimed(msgspec.Struct, frozen=True):
    """The job that an identity stands for, and what tells apart the requests and events that asked for it."""

    job_id: str
    fingerprint: str = ""  # of a request with an Idempotency-Key
    sequencer: str = ""  # of the latest S3 event


class Charge(msgspec.Struct, frozen=True):
    """What a job is estimated to cost in US dollars, and what its owner was charged for it before."""

    owner: str
    usd: float
    before: float


Value = Job | TaskRecord | Progress | frozenset[str] | Ticket | Claimed


class Item(msgspec.Struct, frozen=True):
    """A row of the store as it was read, of whatever kind."""

    key: tuple[str, str]
    due_at: float | None = None  # Unix seconds; None: the sweep need not look at it
    value: Value | None = None  # None: of a kind that nobody reads in this way
    error: Exception | None = None  # why this version cannot read it
