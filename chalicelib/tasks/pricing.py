"""Compute what work costs: what it used, times the price table."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.model.usage import CostByService, FunctionUsage, Requests, Usage, Used
from chalicelib.settings import FunctionSize, Prices, function_sizes, prices

_GB = 1024**3
_FREE_DISK_MB = 512


def cost(used: Sequence[Used], stored: int, parts: Mapping[str, float]) -> Usage:
    """`usage` at this stage: with its prices, its functions, and this machine's architecture."""
    return usage(used, stored, parts, prices(), function_sizes(), platform.machine())


def usage(
    used: Sequence[Used],
    stored: int,
    parts: Mapping[str, float],
    prices: Prices,
    sizes: Mapping[str, FunctionSize],
    architecture: str,
) -> Usage:
    """Use and cost as the API shows them.

    `stored`: bytes of the outputs. `parts`: of each step in what was used. `architecture`: as
    platform.machine() returns it.
    """
    gb_second = (
        prices.lambda_gb_second_arm64
        if architecture == "aarch64"
        else prices.lambda_gb_second_x86_64
    )
    by_service = CostByService(
        lambda_=sum(
            one.gb_seconds * gb_second
            + one.seconds * _paid_disk_gb(sizes.get(one.function)) * prices.lambda_disk_gb_second
            + one.invocations * prices.lambda_million_requests / 1e6
            for one in used
        ),
        dynamodb=sum(
            one.reads * prices.dynamodb_million_reads / 1e6
            + one.writes * prices.dynamodb_million_writes / 1e6
            for one in used
        ),
        s3=sum(
            one.s3_gets * prices.s3_thousand_gets / 1e3
            + one.s3_puts * prices.s3_thousand_puts / 1e3
            for one in used
        ),
        sqs=sum(one.sqs * prices.sqs_million_requests / 1e6 for one in used),
    )
    services = msgspec.structs.astuple(by_service)
    return Usage(
        functions={
            one.function: FunctionUsage(
                one.invocations,
                round(one.gb_seconds, 3),
                Requests(one.dynamodb, one.s3_gets + one.s3_puts, one.sqs),
            )
            for one in used
        },
        bytes_read=sum(one.bytes_read for one in used),
        bytes_written=sum(one.bytes_written for one in used),
        bytes_stored=stored,
        cost_usd=_rounded(sum(services)),
        cost_usd_by_service=CostByService(*map(_rounded, services)),
        cost_usd_by_step={step: _rounded(part * sum(services)) for step, part in parts.items()},
        storage_usd_a_month=_rounded(stored / _GB * prices.s3_gb_month),
        prices_of=prices.of,
    )


def _paid_disk_gb(size: FunctionSize | None) -> float:
    """GB of /tmp that are billed; 0 for a function that this version of the stack no longer has."""
    return max(0, size.disk_mb - _FREE_DISK_MB) / 1024 if size else 0.0


def _rounded(dollars: float) -> float:
    return round(dollars, 9)
