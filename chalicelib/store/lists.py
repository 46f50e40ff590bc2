"""Lists of jobs, newest first, a page at a time, by a bounded number of reads."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import batched, islice
from typing import NamedTuple

from pynamodb.expressions.condition import Condition
from pynamodb.indexes import GlobalSecondaryIndex

from chalicelib.model.job import Job
from chalicelib.model.step import STATUSES
from chalicelib.store import writes
from chalicelib.store.items import read_many
from chalicelib.store.table import JobRow

# How many entries of an index, and how many jobs, are looked at for one page, at most.
_MOST_ENTRIES = 5000
_MOST_READ = 500
# How many entries of an index are asked for at once where most of them may be of no use.
_MANY = 1000


class Wanted(NamedTuple):
    """Which jobs to list. Moments are as in `Job.created_at`."""

    owners: Sequence[str]
    statuses: Collection[str]
    source_key: str | None = None
    recipe: str | None = None  # its name, or its name and version: `web@3f2a9c`
    since: str = ""  # the first moment of creation
    until: str = ""  # the moment before which they were created; "" for no end

    def has(self, job: Job) -> bool:
        """Whether a job is wanted by what its row says; an index tells its key and its moment."""
        follows = self.recipe in (None, job.recipe, job.recipe.partition("@")[0])
        return follows and job.status in self.statuses and job.owner in self.owners


class Page(NamedTuple):
    """Jobs, newest first, and the position (`Job.created`) after which to go on; None at the end."""

    jobs: list[Job]
    after: str | None


class _Entry(NamedTuple):
    created: str
    status: str | None  # None: the index does not tell


def newest(limit: int, before: str | None, wanted: Wanted) -> Page:
    """At most `limit` jobs that were created before the position `before`, if there is one.

    A page may have fewer, or none, and not be the last: where many others lie between. Jobs that this version
    cannot read are left out.
    """
    end = min((end for end in (before, wanted.until) if end), default=None)
    if end and end <= wanted.since:
        return Page([], None)
    entries = _entries(wanted, end, limit)
    found: list[Job] = []
    looked, read, last = 0, 0, None
    while looked < _MOST_ENTRIES and read < _MOST_READ and len(found) < limit:
        chosen: list[str] = []
        room = min(limit - len(found), _MOST_READ - read)
        for entry in islice(entries, _MOST_ENTRIES - looked):
            looked, last = looked + 1, entry.created
            if entry.status is None or entry.status in wanted.statuses:
                chosen.append(entry.created)
            if len(chosen) == room:
                break
        else:
            if looked < _MOST_ENTRIES:
                found += _read(chosen, wanted)
                return Page(found, None)
        found += _read(chosen, wanted)
        read += len(chosen)
    return Page(found, last)


def _read(positions: Sequence[str], wanted: Wanted) -> list[Job]:
    keys = [(writes.job_key(position.partition("#")[2]), JobRow.SK) for position in positions]
    values = (item.value for some in batched(keys, 100, strict=False) for item in read_many(some))
    read = [value for value in values if isinstance(value, Job) and wanted.has(value)]
    return sorted(read, key=lambda job: job.created, reverse=True)


def _entries(wanted: Wanted, before: str | None, limit: int) -> Iterator[_Entry]:
    """Entries of the index for what is wanted, newest first."""
    if wanted.source_key is not None:
        rows = _query(JobRow.by_key, wanted.source_key, wanted.since, before, limit)
        return (_Entry(row.created, None) for row in rows)
    # Of few statuses, or of a recipe, there may be few jobs among many: more of the index is read at once.
    has_all = set(STATUSES) <= set(wanted.statuses) and wanted.recipe is None
    size = limit if has_all else _MANY
    each = (_query(JobRow.by_owner, owner, wanted.since, before, size) for owner in wanted.owners)
    rows = heapq.merge(*each, key=lambda row: row.created, reverse=True)
    return (_Entry(row.created, row.status) for row in rows)


def _query(
    index: GlobalSecondaryIndex[JobRow], value: str, since: str, before: str | None, size: int
) -> Iterator[JobRow]:
    """Entries of an index with this value, newest first, `size` a request."""
    within: Condition | None = None
    if before:
        within = JobRow.created < before
    if since and before:
        # A key may have one condition: both ends belong to this one, and nothing was created at `before`.
        within = JobRow.created.between(since, before)
    elif since:
        within = JobRow.created >= since
    rows = index.query(value, within, scan_index_forward=False, page_size=size)
    return (row for row in rows if row.created != before)
