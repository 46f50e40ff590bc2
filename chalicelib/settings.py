"""What an operator can set: frozen objects, read from the environment, validated once.

The only place that reads the environment. Each field is set by SLUICE_<FIELD IN CAPITALS>, a price by
SLUICE_PRICE_<FIELD IN CAPITALS>.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# Owners that no API key and no IAM identity is called: whoever calls where nobody is asked who it is, and the
# owner of what nobody was given a URL for.
ANYBODY, DROPS = "-", "drops"

Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
LEAST_DOLLARS, MOST_DOLLARS = 0.000001, 1_000_000
Dollars = Annotated[float, Meta(ge=LEAST_DOLLARS, le=MOST_DOLLARS)]


class Settings(msgspec.Struct, frozen=True, rename=lambda field: f"SLUICE_{field.upper()}"):
    """Limits, lifetimes and looks. Times are seconds, sizes are bytes, unless the name says otherwise."""

    # Where things are; infra/stack/template.py fills these in.
    jobs_table: str = "sluice-jobs"
    upload_bucket: str = "sluice-upload"
    output_bucket: str = "sluice-output"
    hls_secret_arn: str = ""
    estimate_function: str = "sluice-estimate"
    # The public base of the API. Empty: taken from the request, as API Gateway tells it.
    api_url: str = ""

    # Who may call the API. `iam` unless a stage says otherwise, so that forgetting is safe.
    auth: Literal["none", "api_key", "iam"] = "iam"
    # The callers who see drops, with spaces between them; `*` is every one. See docs/security.md.
    operators: str = ""

    # A URL ends with the credentials of the role that signed it, which Lambda renews within twelve hours.
    upload_url_seconds: Annotated[int, Meta(ge=60, le=43200)] = 3600
    download_url_seconds: Annotated[int, Meta(ge=60, le=43200)] = 3600
    # Clients announce the `size` of a file, which is then signed: without it S3 takes up to 5 GB. The local
    # stages do not insist.
    require_size: bool = True

    max_source_bytes: Positive = 5 * 1024**3
    max_image_bytes: Positive = 200 * 1024**2
    max_image_pixels: Positive = 120_000_000
    max_video_pixels: Positive = 8192 * 4320
    max_streams: Positive = 64
    max_video_seconds: Positive = 12 * 3600
    # What a film of that length has at 60 frames a second; and that in 4K, in billions of pixels.
    max_video_frames: Positive = 12 * 3600 * 60
    max_video_gigapixels: Positive = 21_500

    # What one job may cost, and what one owner's jobs of a day (UTC) may, in US dollars as they are estimated
    # before they start. 12 hours of 4K at 30 frames a second are $4, with a watermarked film $14.
    max_job_usd: Dollars = 15.0
    max_owner_day_usd: Dollars = 30.0

    probe_seconds: Positive = 15

    # A film is encoded in chunks that take about so long on two cores, and the first one a third of it, for
    # that is what a viewer waits for; but none is shorter than a segment.
    chunk_work_seconds: Annotated[float, Meta(gt=0)] = 6.0

    # A task is tried this often before its step fails; so is looking at a file before its job does.
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    # The first retry waits this long, each next one three times as long.
    retry_seconds: Positive = 10
    # SQS keeps a message for four days: a task still waiting after that was lost with it.
    job_deadline_seconds: Positive = 4 * 86400 + 3600
    # Not less than an event can be late.
    retention_days: Annotated[int, Meta(ge=15)] = 30
    # After so many days originals expire, and with them the memory of whose they are. None: never.
    original_days: Positive | None = None

    watermark_image: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+\.png$")] = "watermark.png"
    watermark_position: Literal[
        "top_left", "top_right", "center", "bottom_left", "bottom_right"
    ] = "bottom_right"
    # The mark's width as a part of the picture's width; in a very long picture it is smaller.
    watermark_scale: Fraction = 0.22
    watermark_opacity: Fraction = 0.85

    def owners_seen_by(self, caller: str) -> tuple[str, ...]:
        """Whose files and jobs a caller sees: his own, and drops if he is an operator."""
        is_operator = not {caller, "*"}.isdisjoint(self.operators.split())
        return (caller, DROPS) if is_operator else (caller,)

    @property
    def max_receives(self) -> int:
        """A queue's maxReceiveCount: well above the tries, for a message also comes in vain.

        It meets a lease, a batch that has no time left for it, or a function that is throttled.
        """
        return 4 * self.max_attempts


Price = Annotated[float, Meta(ge=0)]


class Prices(msgspec.Struct, frozen=True, rename=lambda field: f"SLUICE_PRICE_{field.upper()}"):
    """US dollars, as AWS lists them in public for us-east-1, without free tier, discount or tax.

    AWS changes them and other regions have others: check them, and set `SLUICE_PRICES_OF` to the day.
    """

    # The day that the table is of; nobody has compared it with AWS's pages since.
    of: date = msgspec.field(default=date(2026, 11, 24), name="SLUICE_PRICES_OF")
    lambda_gb_second_x86_64: Price = 0.0000166667
    lambda_gb_second_arm64: Price = 0.0000133334
    lambda_million_requests: Price = 0.20
    # Of /tmp, beyond the first 512 MB.
    lambda_disk_gb_second: Price = 0.0000000309
    # On demand, in request units.
    dynamodb_million_writes: Price = 0.625
    dynamodb_million_reads: Price = 0.125
    # PUT, COPY, POST and LIST; GET and all others, but for DELETE, which costs nothing.
    s3_thousand_puts: Price = 0.005
    s3_thousand_gets: Price = 0.0004
    s3_gb_month: Price = 0.023
    sqs_million_requests: Price = 0.40


class FunctionSize(msgspec.Struct, frozen=True):
    """What a Lambda is given, and how many cores it keeps busy if its work can be shared among them."""

    memory_mb: int
    disk_mb: int
    cores: float


class InvalidSetting(ValueError):
    """A variable of the environment has a value that cannot be used; the message names it."""


def load[T: (Settings, Prices)](environment: Mapping[str, str], shape: type[T]) -> T:
    """Settings or prices from `environment`; raises InvalidSetting, which names the variable."""
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
    """What AWS costs, as far as this process knows."""
    return load(os.environ, Prices)


@cache
def function_sizes() -> dict[str, FunctionSize]:
    """Every Lambda of the stack by its name, as infra/stack/template.py tells those that price work."""
    try:
        told = os.environ["SLUICE_FUNCTION_SIZES"]
    except KeyError:
        raise InvalidSetting(
            "SLUICE_FUNCTION_SIZES is not set: this function prices no work"
        ) from None
    return msgspec.json.decode(told, type=dict[str, FunctionSize])


def queue_url(queue: str) -> str:
    """The address of a queue that this function may send to; raises InvalidSetting."""
    variable = f"SLUICE_QUEUE_URL_{queue.upper()}"
    try:
        return os.environ[variable]
    except KeyError:
        raise InvalidSetting(f"{variable} is not set: this function sends to no {queue}") from None
