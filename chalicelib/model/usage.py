"""The resources that invocations used, summed by function, and their cost as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import msgspec

# Lambda receives a batch of messages in one request, and deletes it in another.
POLLER_REQUESTS = 2


class Used(msgspec.Struct, frozen=True, array_like=True):
    """What invocations of one function used. An array in JSON, which is how rows store it."""

    function: str
    invocations: int = 0
    seconds: float = 0.0  # as Lambda bills them, like `gb_seconds`
    gb_seconds: float = 0.0
    dynamodb: int = 0  # requests
    reads: float = 0.0  # DynamoDB's read units
    writes: float = 0.0  # DynamoDB's write units
    s3_gets: int = 0  # requests at the price of a GET
    s3_puts: int = 0  # requests at the price of a PUT
    sqs: int = 0  # requests
    bytes_read: int = 0  # from S3
    bytes_written: int = 0  # to S3


def read(entries: Iterable[str]) -> Iterator[Used]:
    """Decode what rows store. Fields are only added at the end, so that every version reads every other's."""
    return (msgspec.json.decode(entry, type=Used) for entry in entries)


def total(parts: Iterable[Used]) -> list[Used]:
    """The sums, one Used for each function, in order of their names."""
    by_function: dict[str, list[tuple[Any, ...]]] = {}
    for part in parts:
        function, *numbers = msgspec.structs.astuple(part)
        by_function.setdefault(function, []).append(tuple(numbers))
    return [
        Used(function, *(round(sum(column), 4) for column in zip(*rows, strict=True)))
        for function, rows in sorted(by_function.items())
    ]


class Requests(msgspec.Struct):
    """How often each service was called."""

    dynamodb: int
    s3: int
    sqs: int


class FunctionUsage(msgspec.Struct):
    """What one Lambda used, in all its invocations."""

    invocations: int
    gb_seconds: float
    requests: Requests


class CostByService(msgspec.Struct, rename={"lambda_": "lambda"}):
    """US dollars, by what they are paid for. `lambda` has its disk and its invocations in it."""

    lambda_: float
    dynamodb: float
    s3: float
    sqs: float


class Usage(msgspec.Struct):
    """What a job used, and what that costs in US dollars at the list prices of the day `prices_of`.

    Bytes read from S3 and written to it; stored are those of the outputs, whose month in storage is told
    apart from the rest, for it depends on how long they are kept. What several steps needed is divided among
    them; by step there is nothing where the job was given up.
    """

    functions: dict[str, FunctionUsage]
    bytes_read: int
    bytes_written: int
    bytes_stored: int
    cost_usd: float
    cost_usd_by_service: CostByService
    cost_usd_by_step: dict[str, float]
    storage_usd_a_month: float
    prices_of: date


def dollars(usd: float) -> str:
    """US dollars for a sentence: two decimals from $0.10 on, six below."""
    return f"${usd:,.2f}" if usd >= 0.1 else f"${usd:.6f}"
