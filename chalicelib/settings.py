"""Settings of an operator: frozen structs, read from the environment and validated once.

No other module reads the environment. The variable SLUICE_<FIELD IN CAPITALS> sets a field of Settings,
SLUICE_PRICE_<FIELD IN CAPITALS> a price.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# Names of owners that no API key and no IAM identity can have. ANYBODY: every caller of an API without
# authentication. DROPS: the owner of each object that appeared without a presigned URL.
ANYBODY, DROPS = "-", "drops"

Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
LEAST_DOLLARS, MOST_DOLLARS = 0.000001, 1_000_000
Dollars = Annotated[float, Meta(ge=LEAST_DOLLARS, le=MOST_DOLLARS)]


class Settings(msgspec.Struct, frozen=True, rename=lambda field: f"SLUICE_{field.upper()}"):
    """Limits, lifetimes and looks. Times are seconds and sizes are bytes, unless the name says otherwise."""

    # Where things are; infra/stack/template.py sets these.
    jobs_table: str = "sluice-jobs"
    upload_bucket: str = "sluice-upload"
    output_bucket: str = "sluice-output"
    hls_secret_arn: str = ""
    webhook_secret_arn: str = ""
    estimate_function: str = "sluice-estimate"
    # The public base URL of the API. "": taken from the request, as API Gateway passes it on.
    api_url: str = ""

    # Who may call the API. A stage that sets nothing gets `iam`, the safe one.
    auth: Literal["none", "api_key", "iam"] = "iam"
    # The callers who see drops, separated by spaces; `*` is every caller. See docs/security.md.
    operators: str = ""

    # A URL expires with the credentials of the role that signed it, which Lambda renews within twelve hours.
    upload_url_seconds: Annotated[int, Meta(ge=60, le=43200)] = 3600
    download_url_seconds: Annotated[int, Meta(ge=60, le=43200)] = 3600
    # Whether a client must announce the `size` of a file, which the URL then fixes. Without a size S3 accepts
    # up to 5 GB. Local stages do not require it.
    require_size: bool = True

    # How long an upload in parts may take, from its begin on. S3 removes parts that nobody completed by then.
    multipart_upload_seconds: Annotated[int, Meta(ge=3600, le=7 * 86400)] = 86400

    # An MP4 of more cannot be joined (tasks/mp4.py). Of films that short max_video_seconds comes first: it is
    # 12 hours of 13 Mbit/s.
    max_source_bytes: Positive = 72 * 1000**3
    max_image_bytes: Positive = 200 * 1024**2
    max_image_pixels: Positive = 120_000_000
    max_video_pixels: Positive = 8192 * 4320
    max_streams: Positive = 64
    max_video_seconds: Positive = 12 * 3600
    # Of a film as long as max_video_seconds at 60 frames a second; and of that in 4K, in billions of pixels.
    max_video_frames: Positive = 12 * 3600 * 60
    max_video_gigapixels: Positive = 21_500

    # What one job may cost, and all jobs of one owner that start on one day (UTC), in US dollars as estimated
    # before a job starts. 12 hours of 4K at 30 frames a second cost $4, with a watermarked film $14.
    max_job_usd: Dollars = 15.0
    max_owner_day_usd: Dollars = 30.0

    probe_seconds: Positive = 15

    # How long two cores work on a chunk, about. The first chunk takes a third of it, as a viewer waits for
    # it. No chunk is shorter than a segment.
    chunk_work_seconds: Annotated[float, Meta(gt=0)] = 6.0

    # Tries of a task before its step fails, and of probing a file before its job fails.
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    # The wait before the first retry; each next wait is three times as long.
    retry_seconds: Positive = 10
    # SQS keeps a message for four days: a task that still waits after that has lost its message.
    job_deadline_seconds: Positive = 4 * 86400 + 3600
    # How long the rows of a job are kept after its end; not less than an S3 event can be late.
    retention_days: Annotated[int, Meta(ge=15)] = 30
    # Originals, and the records of who owns them, expire after so many days. None: never.
    original_days: Positive | None = None
    # Whether a client may have a job's original deleted with the job. Else no function has the right to.
    delete_originals: bool = False

    # Whom webhooks may reach: public addresses by https, or, for local stages, anything.
    webhook_targets: Literal["public", "any"] = "public"

    watermark_image: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+\.png$")] = "watermark.png"
    watermark_position: Literal[
        "top_left", "top_right", "center", "bottom_left", "bottom_right"
    ] = "bottom_right"
    # The mark's width as a part of the picture's width. In a very long picture the mark is smaller.
    watermark_scale: Fraction = 0.22
    watermark_opacity: Fraction = 0.85

    def owners_seen_by(self, caller: str) -> tuple[str, ...]:
        """The owners whose files and jobs a caller sees: the caller, and DROPS if it is an operator."""
        is_operator = not {caller, "*"}.isdisjoint(self.operators.split())
        return (caller, DROPS) if is_operator else (caller,)

    def owners_told_of(self, owner: str) -> tuple[str, ...]:
        """The owners whose endpoints are told of jobs of `owner`: of drops, the operators that are named."""
        named = tuple(name for name in self.operators.split() if name != "*")
        return named if owner == DROPS else (owner,)

    @property
    def max_receives(self) -> int:
        """A queue's maxReceiveCount: well above max_attempts, as not every receive is a try.

        The task may be leased, the batch may have no time left, or the function may be throttled.
        """
        return 4 * self.max_attempts


Price = Annotated[float, Meta(ge=0)]


class Prices(msgspec.Struct, frozen=True, rename=lambda field: f"SLUICE_PRICE_{field.upper()}"):
    """US dollars: AWS's public list prices in us-east-1, without free tier, discount or tax.

    AWS changes them, and other regions differ: check them, and set `SLUICE_PRICES_OF` to the day.
    """

    # The day when these prices were last compared with AWS's pages.
    of: date = msgspec.field(default=date(2026, 11, 24), name="SLUICE_PRICES_OF")
    lambda_gb_second_x86_64: Price = 0.0000166667
    lambda_gb_second_arm64: Price = 0.0000133334
    lambda_million_requests: Price = 0.20
    # /tmp beyond the first 512 MB.
    lambda_disk_gb_second: Price = 0.0000000309
    # On demand, a million request units.
    dynamodb_million_writes: Price = 0.625
    dynamodb_million_reads: Price = 0.125
    # Puts: PUT, COPY, POST and LIST. Gets: all others but DELETE, which costs nothing.
    s3_thousand_puts: Price = 0.005
    s3_thousand_gets: Price = 0.0004
    s3_gb_month: Price = 0.023
    sqs_million_requests: Price = 0.40


class FunctionSize(msgspec.Struct, frozen=True):
    """The size of a Lambda."""

    memory_mb: int
    disk_mb: int  # /tmp
    cores: float  # how many it keeps busy with parallel work


class InvalidSetting(ValueError):
    """An environment variable is missing or has an unusable value; the message names the variable."""


def load[T: (Settings, Prices)](environment: Mapping[str, str], shape: type[T]) -> T:
    """Settings or prices from `environment`. Raises InvalidSetting."""
    try:
        return msgspec.convert(dict(environment), shape, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"{error}. See chalicelib/settings.py for what it may be.") from None


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load(os.environ, Settings)


@cache
def prices() -> Prices:
    """The prices by which this process computes costs."""
    return load(os.environ, Prices)


@cache
def recipes() -> str:
    """The text of recipes.toml, which is deployed with the code."""
    return (Path(__file__).parent / "recipes.toml").read_text()


@cache
def function_sizes() -> dict[str, FunctionSize]:
    """Each Lambda of the stack by its name. Raises InvalidSetting.

    infra/stack/template.py sets the variable for the functions that price work.
    """
    try:
        encoded = os.environ["SLUICE_FUNCTION_SIZES"]
    except KeyError:
        raise InvalidSetting(
            "SLUICE_FUNCTION_SIZES is not set: this function prices no work"
        ) from None
    return msgspec.json.decode(encoded, type=dict[str, FunctionSize])


def queue_url(queue: str) -> str:
    """The URL of a queue that this function may send to. Raises InvalidSetting for any other."""
    variable = f"SLUICE_QUEUE_URL_{queue.upper()}"
    try:
        return os.environ[variable]
    except KeyError:
        raise InvalidSetting(f"{variable} is not set: this function sends to no {queue}") from None
