"""The items of the one DynamoDB table, and the values in them; chalicelib/store/ledger.py writes them.

pk               sk                what it is
job#<id>         job               the row that the API reads (small: at most 4 KB)
job#<id>         progress          how far tasks are; what each step weighs
job#<id>         ended#<g>         the tasks that others wait for and that have ended well: a set that grows
job#<id>         task#<g>#<id>     lease, attempts, result of one task, and what each try used
upload#<key>     ticket            a presigned URL was handed out for this key: to whom, and what came of it
claim#<hash>     claim             which job a file and pipeline, or an Idempotency-Key, stands for
budget#<owner>   <day, UTC>        what the owner's jobs that started on it are estimated to cost

<g> is the generation of code that the task was planned by (plan.GENERATION): another one's are not read.
"""

from __future__ import annotations

from typing import Any

import msgspec
from pynamodb.attributes import (
    BooleanAttribute,
    DiscriminatorAttribute,
    JSONAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

from chalicelib.model import filenames
from chalicelib.model.job import TERMINAL, StepState
from chalicelib.model.plan import GENERATION
from chalicelib.model.result import Result
from chalicelib.model.usage import Used, read, total
from chalicelib.settings import DROPS, settings


class _ByKey(GlobalSecondaryIndex["Job"]):
    class Meta:
        index_name = "by_key"
        projection = IncludeProjection(["row"])

    source_key = UnicodeAttribute(hash_key=True)
    created = UnicodeAttribute(range_key=True)


class _ByOwner(GlobalSecondaryIndex["Job"]):
    class Meta:
        index_name = "by_owner"
        projection = IncludeProjection(["row", "status"])

    owner = UnicodeAttribute(hash_key=True)
    created = UnicodeAttribute(range_key=True)


class _ByDue(GlobalSecondaryIndex["Row"]):
    class Meta:
        index_name = "by_due"
        projection = IncludeProjection(["row"])

    due_shard = UnicodeAttribute(hash_key=True)
    due_at = NumberAttribute(range_key=True)


class Row(Model):
    """What every item of the table has. `kind_of_row` tells PynamoDB which class an item is."""

    class Meta:
        table_name = settings().jobs_table
        connect_timeout_seconds = 2
        read_timeout_seconds = 5
        max_retry_attempts = 5

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    row = DiscriminatorAttribute()
    expires_at = NumberAttribute(null=True)
    due_shard = UnicodeAttribute(null=True)
    due_at = NumberAttribute(null=True)
    by_due = _ByDue()

    @property
    def job_id(self) -> str:
        return self.pk.partition("#")[2]


class Job(Row, discriminator="job"):
    """The row that the API reads."""

    SK = "job"

    status = UnicodeAttribute()
    owner = UnicodeAttribute(default=DROPS)  # of its file; of older rows nobody knows it
    source_key = UnicodeAttribute()
    filename = UnicodeAttribute(default="")  # as the client gave it; empty: as the key has it
    created = UnicodeAttribute()  # created_at and id: unique, and sorts by time
    created_at = UnicodeAttribute()
    updated_at = UnicodeAttribute()
    pipeline: ListAttribute[Any] = ListAttribute(default=list)
    steps: MapAttribute[str, Any] = MapAttribute(default=dict)
    etag = UnicodeAttribute(default="")
    kind = UnicodeAttribute(default="")
    duration = NumberAttribute(null=True)
    encoding = UnicodeAttribute(default="")
    error = UnicodeAttribute(default="")
    error_code = UnicodeAttribute(default="")
    generation = UnicodeAttribute(
        default=""
    )  # of the code whose plan it follows; "" before there is one
    started_by = UnicodeAttribute(default="")  # the first generation
    starter = UnicodeAttribute(default="")  # the message to intake by which it follows its plan
    replanned = BooleanAttribute(default=False)  # since it was started, by another generation
    tries = NumberAttribute(default=0)  # of intake, beyond the first of each message
    last_error = UnicodeAttribute(default="")  # of intake
    max_usd = NumberAttribute(null=True)  # what it may cost, as its client said
    charged_usd = NumberAttribute(default=0)  # to its owner's budget
    awaits_upload = BooleanAttribute(default=False)
    awaits_copy = BooleanAttribute(default=False)  # before it is started
    # By intake; once it has ended, by all of it.
    used: ListAttribute[str] = ListAttribute(null=True)
    deadline_at = (
        NumberAttribute()
    )  # when the sweep ends it; at `due_at` it looks whether all is well
    looks = NumberAttribute(default=0)  # of the sweep in a row that found no progress
    seen = NumberAttribute(default=0)  # what had ended when the sweep looked last
    by_owner = _ByOwner()
    by_key = _ByKey()

    @property
    def shown_name(self) -> str:
        """The name of the file that it is of."""
        return self.filename or filenames.of_key(self.source_key)

    @property
    def usage(self) -> list[Used] | None:
        """What it used, by function; None before it has ended."""
        if self.status not in TERMINAL or self.used is None:
            return None
        return total(read(self.used))

    @property
    def step_states(self) -> dict[str, StepState]:
        """The steps, in pipeline order."""
        stored = self.steps.as_dict()
        return {
            name: msgspec.convert(stored[name], StepState)
            for name in self.pipeline
            if name in stored
        }


class Progress(Row, discriminator="progress"):
    """How far tasks are that have not ended, in percent; what each step's groups of tasks cost."""

    SK = "progress"

    generation = UnicodeAttribute(default="")
    started_at = NumberAttribute()
    shares = JSONAttribute()  # of each step, the groups that it takes and what each costs
    sizes = JSONAttribute()  # of each group, how many tasks are in it
    percents: MapAttribute[str, Any] = MapAttribute(default=dict)


class TaskRow(Row, discriminator="task"):
    """One task: who works on it until when, how often it was tried, what came of it."""

    state = UnicodeAttribute()
    owner = UnicodeAttribute(null=True)
    lease_until = NumberAttribute(null=True)
    attempts = NumberAttribute(default=0)
    result = JSONAttribute(null=True)
    last_error = UnicodeAttribute(default="")
    used: ListAttribute[str] = ListAttribute(null=True)  # by each try, as JSON of model.usage.Used

    @staticmethod
    def sk_of(task_id: str) -> str:
        return f"task#{GENERATION}#{task_id}"

    @property
    def task_id(self) -> str:
        return self.sk.rpartition("#")[2]

    def ended_with(self) -> Result | None:
        """What the task has ended with; None while it has not."""
        return msgspec.convert(self.result, Result) if self.result is not None else None


class Ended(Row, discriminator="ended"):
    SK = f"ended#{GENERATION}"

    tasks = UnicodeSetAttribute(null=True)


class Ticket(Row, discriminator="ticket"):
    SK = "ticket"

    owner = UnicodeAttribute(default=DROPS)
    ticket_job_id = UnicodeAttribute(null=True)
    filename = UnicodeAttribute(default="")
    arrived = UnicodeAttribute(null=True)  # the S3 event of its upload


class Identity(Row, discriminator="claim"):
    SK = "claim"

    claimed_job_id = UnicodeAttribute()
    fingerprint = UnicodeAttribute(default="")  # of a request with an Idempotency-Key
    sequencer = UnicodeAttribute(default="")  # of the latest S3 event that asked for the job


class Budget(Row, discriminator="budget"):
    """What an owner's jobs of one day cost; its `sk` is the day."""

    spent_usd = NumberAttribute()
