"""The items of the one DynamoDB table, as PynamoDB's models; nobody outside store/ sees them.

pk               sk                what it is
job#<id>         job               the row that the API reads (small: at most 4 KB), of each step its status;
                                   once the job is deleted, its tombstone
job#<id>         steps             what the steps have come to: outputs, or an error
job#<id>         metadata          the client's metadata, where there are any
job#<id>         progress          how far tasks are; what each step weighs
job#<id>         ended#<g>         the tasks that others wait for and that have ended well: a set that grows
job#<id>         task#<g>#<id>     lease, attempts, result of one task, and what each try used
upload#<key>     ticket            a presigned URL was handed out for this key: to whom, and what came of it
claim#<hash>     claim             which job a file and pipeline, or an Idempotency-Key, stands for
budget#<owner>   <day, UTC>        what the owner's jobs that started on it are estimated to cost
event#<id>       <type>#<step>     what a job's owner is still to be told
webhooks#<owner> endpoints         where an owner wants to be told, and of what
webhook#<id>     <job>#<position>  the delivery of one event to one endpoint

<g> is the generation of code that planned the task (plan.GENERATION); rows of other generations are not read.
The value of a row is what store/ hands out of it: a struct of model/job.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    DiscriminatorAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

from chalicelib.model.job import (
    Claimed,
    Job,
    Progress,
    StepStates,
    TaskRecord,
    Ticket,
    Value,
)
from chalicelib.model.plan import GENERATION
from chalicelib.model.result import Result
from chalicelib.model.step import CANCELED, TERMINAL, Output, StepState, format_of
from chalicelib.model.usage import read
from chalicelib.settings import DROPS, settings
from chalicelib.store.attributes import MapOfAny, PipelineAttribute, pack, unpack, whole


class _ByKey(GlobalSecondaryIndex["JobRow"]):
    class Meta:
        index_name = "by_key"
        projection = IncludeProjection(["row"])

    source_key = UnicodeAttribute(hash_key=True)
    created = UnicodeAttribute(range_key=True)


class _ByOwner(GlobalSecondaryIndex["JobRow"]):
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
    """What every item of the table has. `row` tells PynamoDB which class an item is."""

    class Meta:
        table_name = settings().jobs_table
        connect_timeout_seconds = 2
        read_timeout_seconds = 5
        max_retry_attempts = 5

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    row = DiscriminatorAttribute()
    expires_at = NumberAttribute(null=True)  # by it DynamoDB deletes the item
    due_shard = UnicodeAttribute(null=True)  # with `due_at`: the sweep is to look at it
    due_at = NumberAttribute(null=True)
    by_due = _ByDue()

    def value(self) -> Value | None:
        """What store/ hands out of the row. Raises msgspec.ValidationError where it cannot be read."""
        return None


class JobRow(Row, discriminator="job"):
    """The row that the API reads. Fields of `Job` say what attributes mean."""

    SK = "job"

    status = UnicodeAttribute()
    owner = UnicodeAttribute(default=DROPS)  # of rows from before there were owners nobody knows it
    source_key = UnicodeAttribute()
    filename = UnicodeAttribute(default="")
    created = UnicodeAttribute()
    created_at = UnicodeAttribute()
    updated_at = UnicodeAttribute()
    pipeline = PipelineAttribute(default=list)
    recipe = UnicodeAttribute(default="")
    step_names: ListAttribute[str] = ListAttribute(null=True)  # in pipeline order
    # By name. {"status": …}; in rows of formats up to 5 also what the step came to, with one `output`.
    steps = MapOfAny(default=dict)
    warning = UnicodeAttribute(null=True)
    etag = UnicodeAttribute(default="")
    announced_size = NumberAttribute(null=True)
    checksum_crc64nvme = UnicodeAttribute(null=True)
    duration = NumberAttribute(null=True)
    encoding = UnicodeAttribute(default="")
    error = UnicodeAttribute(default="")
    error_code = UnicodeAttribute(default="")
    generation = UnicodeAttribute(default="")
    started_by = UnicodeAttribute(default="")
    starter = UnicodeAttribute(default="")
    replanned = BooleanAttribute(default=False)
    tries = NumberAttribute(default=0)
    last_error = UnicodeAttribute(default="")
    max_usd = NumberAttribute(null=True)
    charged_usd = NumberAttribute(default=0)
    awaits_upload = BooleanAttribute(default=False)
    awaits_copy = BooleanAttribute(default=False)
    used: ListAttribute[str] = ListAttribute(null=True)  # JSON of Used
    parts = JSONAttribute(null=True)  # of each step in that, in the order of `step_names`
    reached = JSONAttribute(null=True)
    retry_of = UnicodeAttribute(null=True)
    anew = BooleanAttribute(null=True)
    is_told = BooleanAttribute(null=True)
    takes_original = BooleanAttribute(null=True)
    deadline_at = NumberAttribute()
    looks = NumberAttribute(default=0)
    seen = NumberAttribute(default=0)
    by_owner = _ByOwner()
    by_key = _ByKey()

    def value(self) -> Job:
        names = self.step_names
        if names is None:  # before rows had them, a pipeline had nothing else
            names = [step for step in self.pipeline if isinstance(step, str)]
        stored = {name: self.steps[name] for name in names if name in self.steps}
        return Job(
            job_id=self.pk.partition("#")[2],
            status=self.status,
            owner=self.owner,
            source_key=self.source_key,
            filename=self.filename,
            created=self.created,
            created_at=self.created_at,
            updated_at=self.updated_at,
            recipe=self.recipe,
            pipeline=list(self.pipeline),
            step_statuses={name: self._status_of(step) for name, step in stored.items()},
            former_states={
                name: _former_state(step)
                for name, step in stored.items()
                if step.keys() > {"status"}
            },
            warning=self.warning or "",
            etag=self.etag,
            announced_size=whole(self.announced_size),
            checksum_crc64nvme=self.checksum_crc64nvme or "",
            duration=self.duration,
            encoding=self.encoding,
            error=self.error,
            error_code=self.error_code,
            generation=self.generation,
            started_by=self.started_by,
            starter=self.starter,
            replanned=bool(self.replanned),
            tries=int(self.tries),
            last_error=self.last_error,
            max_usd=self.max_usd,
            charged_usd=self.charged_usd,
            awaits_upload=bool(self.awaits_upload),
            awaits_copy=bool(self.awaits_copy),
            used=None if self.used is None else list(read(self.used)),
            parts=dict(zip(names, self.parts or (), strict=False)),
            reached=tuple(self.reached or ()),
            retry_of=self.retry_of or "",
            anew=bool(self.anew),
            is_told=bool(self.is_told),
            takes_original=bool(self.takes_original),
            deadline_at=self.deadline_at,
            due_at=self.due_at,
            looks=int(self.looks or 0),
            seen=int(self.seen or 0),
        )

    def _status_of(self, step: dict[str, Any]) -> str:
        """The status of a stored step: one write cancels a job, and leaves the steps as they are."""
        status = msgspec.convert(step["status"], str)
        return CANCELED if self.status == CANCELED and status not in TERMINAL else status


def _former_state(stored: dict[str, Any]) -> StepState:
    """What a step has come to by a row that still says it."""
    state = msgspec.convert(stored, StepState)
    if "output" not in stored:
        return state
    output = msgspec.convert(stored["output"], Output)
    output = msgspec.structs.replace(output, format=format_of(output.s3_key))
    return msgspec.structs.replace(state, outputs=(output,))


class MetadataRow(Row, discriminator="metadata"):
    """The client's metadata of a job, where there are any: up to a kilobyte that only the API reads."""

    SK = "metadata"

    metadata = MapOfAny()

    def value(self) -> dict[str, str]:
        return self.metadata


class StepsRow(Row, discriminator="steps"):
    """What the steps of a job have come to; changed together with the statuses in the job's row.

    A set of JSON, as that can grow by writes that need not know whether there is one.
    """

    SK = "steps"

    states = UnicodeSetAttribute(null=True)

    @staticmethod
    def entry(step: str, state: StepState) -> str:
        return msgspec.json.encode((step, state)).decode()

    def value(self) -> StepStates:
        # A step that has ended has an entry of its end beside the one of its output that grew.
        pairs = self._pairs().values()
        return StepStates(dict(sorted(pairs, key=lambda pair: pair[1].status in TERMINAL)))

    def growing(self) -> set[str]:
        """The entries of outputs that grow, or grew."""
        return {
            entry for entry, (_, state) in self._pairs().items() if state.status not in TERMINAL
        }

    def _pairs(self) -> dict[str, tuple[str, StepState]]:
        return {
            entry: msgspec.json.decode(entry, type=tuple[str, StepState])
            for entry in self.states or ()
        }


class ProgressRow(Row, discriminator="progress"):
    SK = "progress"

    generation = UnicodeAttribute(default="")
    started_at = NumberAttribute()
    shares = JSONAttribute()
    sizes = JSONAttribute()
    percents = MapOfAny(default=dict)

    def value(self) -> Progress:
        return Progress(
            generation=self.generation,
            started_at=self.started_at,
            shares=self.shares,
            sizes=self.sizes,
            percents=self.percents,
        )


class TaskRow(Row, discriminator="task"):
    """One task. Fields of `TaskRecord` say what attributes mean."""

    state = UnicodeAttribute()
    owner = UnicodeAttribute(null=True)
    lease_until = NumberAttribute(null=True)
    attempts = NumberAttribute(default=0)
    result = JSONAttribute(null=True)
    packed = BinaryAttribute(
        legacy_encoding=False, null=True
    )  # instead, of a large one: zlib of its JSON
    last_error = UnicodeAttribute(default="")
    used: ListAttribute[str] = ListAttribute(null=True)  # by each try: JSON of Used

    @staticmethod
    def sk_of(task_id: str) -> str:
        return f"task#{GENERATION}#{task_id}"

    @property
    def task_id(self) -> str:
        return self.sk.rpartition("#")[2]

    @classmethod
    def ended(cls, result: Result) -> Action:
        """The change that stores a result."""
        packed = pack(result)
        return cls.packed.set(packed) if packed else cls.result.set(msgspec.to_builtins(result))

    def _result(self) -> Result | None:
        if self.packed is not None:
            unpacked: Result = unpack(self.packed, Result)
            return unpacked
        return self.result if self.result is None else msgspec.convert(self.result, Result)

    def value(self) -> TaskRecord:
        return TaskRecord(
            task_id=self.task_id,
            state=self.state,
            owner=self.owner,
            lease_until=self.lease_until,
            attempts=int(self.attempts),
            result=self._result(),
            last_error=self.last_error,
        )


class EndedRow(Row, discriminator="ended"):
    SK = f"ended#{GENERATION}"

    tasks = UnicodeSetAttribute(null=True)

    def value(self) -> frozenset[str]:
        return frozenset(self.tasks or ())


class TicketRow(Row, discriminator="ticket"):
    SK = "ticket"

    owner = UnicodeAttribute(default=DROPS)
    ticket_job_id = UnicodeAttribute(null=True)
    filename = UnicodeAttribute(default="")
    metadata = MapOfAny(null=True)
    size = NumberAttribute(null=True)
    open_until = NumberAttribute(null=True)
    arrived = UnicodeAttribute(null=True)

    def value(self) -> Ticket:
        return Ticket(
            owner=self.owner,
            ticket_job_id=self.ticket_job_id,
            filename=self.filename,
            metadata=self.metadata or {},
            size=whole(self.size),
            open_until=whole(self.open_until),
            arrived=self.arrived,
        )


class ClaimRow(Row, discriminator="claim"):
    SK = "claim"

    claimed_job_id = UnicodeAttribute()
    fingerprint = UnicodeAttribute(default="")
    sequencer = UnicodeAttribute(default="")

    def value(self) -> Claimed:
        return Claimed(self.claimed_job_id, self.fingerprint, self.sequencer)


class BudgetRow(Row, discriminator="budget"):
    """What an owner's jobs of one day cost; its `sk` is the day."""

    spent_usd = NumberAttribute()
