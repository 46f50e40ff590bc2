"""Memory and concurrency of the functions: those that the stage configures, fitted to its account.

A new AWS account may give a function at most 3,008 MB instead of 10,240, and run 10 functions at once instead
of 1,000.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.settings import InvalidSetting, Settings, load
from infra.stack.catalogue import ESTIMATES, FUNCTIONS, SOURCE_QUEUES
from infra.stack.template import ChaliceConfig

USUAL_CONCURRENCY = 1000
NEW_ACCOUNTS_MEMORY_MB = 3008
_MAX_MEMORY_MB = 10240
# AWS's code of the quota of concurrent executions; memory has no quota.
_CONCURRENCY_QUOTA = "L-B99A9384"
# Of an account's executions AWS lets nobody reserve the last 100.
_UNRESERVED = 100
# SQS accepts no smaller limit for a queue.
_MIN_CONCURRENCY = 2
# The weight of a queue without a limit where queues share what the account runs.
_UNLIMITED = 100
# Encoding at full size takes so many bytes of memory for each pixel of a frame (measured at 4K, 5K and 8K on
# two cores: 117, with tone mapping 159), and the function so much besides.
_BYTES_A_PIXEL = 170
_BESIDES_MB = 300

# What a stage may say of its account.
CONCURRENCY_SETTING = "SLUICE_ACCOUNT_CONCURRENCY"
MEMORY_SETTING = "SLUICE_ACCOUNT_MEMORY_MB"
# Executions that are reserved for estimates.
ESTIMATES_SETTING = "SLUICE_CONCURRENCY_ESTIMATE"


@dataclass(frozen=True)
class AccountLimits:
    """An account's limits in a region: concurrent executions, and the memory of a function."""

    concurrency: int
    memory_mb: int


@dataclass(frozen=True)
class Sizes:
    """Memory by function; messages in work at once by queue, None for any number.

    `estimates` executions are reserved for estimates, 0 for none. A film's frames have at most
    `max_video_pixels`.
    """

    memory_mb: Mapping[str, int]
    concurrency: Mapping[str, int | None]
    max_video_pixels: int
    estimates: int


def limits_as_reported(concurrency: int, unreserved: int) -> AccountLimits:
    """The limits of an account for which Lambda reports these executions, in all and unreserved.

    No API reports the limit of memory: an account with less than the usual concurrency counts as new.
    """
    new = concurrency < USUAL_CONCURRENCY
    return AccountLimits(unreserved, NEW_ACCOUNTS_MEMORY_MB if new else _MAX_MEMORY_MB)


def limits_of(variables: Mapping[str, str], reported: AccountLimits | None) -> AccountLimits | None:
    """The limits to fit to, from those that AWS reported and the stage's variables; None without both.

    The smaller concurrency counts; of memory the stage's, for AWS does not report it. Raises InvalidSetting.
    """
    concurrency = _number(variables, CONCURRENCY_SETTING, 1)
    memory_mb = _number(variables, MEMORY_SETTING, 1024)
    if reported is None and concurrency is None and memory_mb is None:
        return None
    reported = reported or AccountLimits(concurrency or USUAL_CONCURRENCY, _MAX_MEMORY_MB)
    return AccountLimits(
        min(concurrency or reported.concurrency, reported.concurrency),
        memory_mb or reported.memory_mb,
    )


def _number(variables: Mapping[str, str], name: str, least: int) -> int | None:
    text = variables.get(name)
    if text is not None and not (text.isdecimal() and int(text) >= least):
        raise InvalidSetting(f"{name} is {text!r}; it must be a whole number from {least} on.")
    return None if text is None else int(text)


def configured(config: ChaliceConfig) -> Sizes:
    """The sizes that .chalice/config.json asks for. Raises InvalidSetting."""
    variables = config.environment_variables
    estimates = _number(variables, ESTIMATES_SETTING, 0)
    return Sizes(
        {
            function.name: config.scope(
                config.chalice_stage, function.config_name
            ).lambda_memory_size
            for function in FUNCTIONS
        },
        {
            queue.name: _number(
                variables, f"SLUICE_CONCURRENCY_{queue.name.upper()}", _MIN_CONCURRENCY
            )
            or queue.concurrency
            for queue in SOURCE_QUEUES
        },
        load(variables, Settings).max_video_pixels,
        ESTIMATES if estimates is None else estimates,
    )


def fit(wanted: Sizes, limits: AccountLimits) -> Sizes:
    """The wanted sizes as far as the account allows; queues share its concurrency in proportion."""
    memory = {name: min(mb, limits.memory_mb) for name, mb in wanted.memory_mb.items()}
    has_room = limits.concurrency - wanted.estimates >= _UNRESERVED
    estimates = wanted.estimates if has_room else 0
    pixels = (memory["encode"] - _BESIDES_MB) * 1024**2 // _BYTES_A_PIXEL
    return Sizes(
        memory,
        _shared(wanted.concurrency, limits.concurrency - estimates),
        min(wanted.max_video_pixels, pixels),
        estimates,
    )


def _shared(wanted: Mapping[str, int | None], concurrency: int) -> dict[str, int | None]:
    # A tenth is left to the API and the sweep, two executions to the dead letters.
    least = _MIN_CONCURRENCY * len(wanted)
    room = max(least, concurrency * 9 // 10 - _MIN_CONCURRENCY)
    weights = {name: number or _UNLIMITED for name, number in wanted.items()}
    if sum(weights.values()) <= room:
        return dict(wanted)
    share = (room - least) / (sum(weights.values()) - least)
    return {
        name: _MIN_CONCURRENCY + int(share * (number - _MIN_CONCURRENCY))
        for name, number in weights.items()
    }


def write(chosen: Sizes, stage: dict[str, Any]) -> None:
    """Write sizes into a stage of .chalice/config.json, read as JSON."""
    functions = stage.setdefault("lambda_functions", {})
    for function in FUNCTIONS:
        own = functions.setdefault(function.config_name, {})
        own["lambda_memory_size"] = chosen.memory_mb[function.name]
    variables = stage.setdefault("environment_variables", {})
    for queue, number in chosen.concurrency.items():
        if number is not None:
            variables[f"SLUICE_CONCURRENCY_{queue.upper()}"] = str(number)
    variables["SLUICE_MAX_VIDEO_PIXELS"] = str(chosen.max_video_pixels)
    variables[ESTIMATES_SETTING] = str(chosen.estimates)


def fitted(config: ChaliceConfig, account: AccountLimits | None) -> Sizes | None:
    """The stage's sizes fitted to its account, where its limits are known; None where nothing changes."""
    limits = limits_of(config.environment_variables, account)
    wanted = configured(config)
    chosen = fit(wanted, limits) if limits else wanted
    return None if chosen == wanted else chosen


def notes(config: ChaliceConfig, account: AccountLimits | None) -> Iterator[str]:
    """Lines for the operator: which sizes were reduced, why, and how to get more."""
    limits = limits_of(config.environment_variables, account)
    if limits is None:
        return
    wanted = configured(config)
    chosen = fit(wanted, limits)
    if chosen == wanted:
        yield f"The account runs {limits.concurrency:,} functions at once: the stage fits as it is."
        return
    yield (
        f"The account runs {limits.concurrency:,} functions at once and gives one {limits.memory_mb:,} MB "
        f"at most, so that the stage is made smaller:"
    )
    for name, megabytes in chosen.memory_mb.items():
        if megabytes != wanted.memory_mb[name]:
            yield f"  {name}: {megabytes:,} MB of memory, not {wanted.memory_mb[name]:,}"
    for name, number in chosen.concurrency.items():
        before = wanted.concurrency[name]
        if number != before:
            yield f"  {name}: {number} at once, not {before or 'any number'}"
    if chosen.estimates != wanted.estimates:
        yield (
            f"  estimate: none reserved, not {wanted.estimates}, for AWS wants {_UNRESERVED} to be left: "
            "estimates at once may take all that there is"
        )
    if chosen.max_video_pixels != wanted.max_video_pixels:
        yield (
            f"  films: frames of {chosen.max_video_pixels / 1e6:.1f} megapixels at most, "
            f"not {wanted.max_video_pixels / 1e6:.1f}"
        )
    together = sum(number or 0 for number in chosen.concurrency.values()) + _MIN_CONCURRENCY
    if together > limits.concurrency:
        yield (
            f"  The queues may ask for {together} functions at once, since SQS takes no less than "
            f"{_MIN_CONCURRENCY} of each: what finds no room waits, and the API may answer with a 5xx."
        )
    if chosen.concurrency != wanted.concurrency:
        yield (
            "More at once: `aws service-quotas request-service-quota-increase --service-code lambda "
            f"--quota-code {_CONCURRENCY_QUOTA} --desired-value {USUAL_CONCURRENCY}`."
        )
    if chosen.memory_mb != wanted.memory_mb:
        yield (
            'More memory: a case with AWS Support (service Lambda, quota "Function memory maximum", '
            f"{_MAX_MEMORY_MB} MB). AWS tells nobody how much an account has; of a new one we assume "
            f"{NEW_ACCOUNTS_MEMORY_MB:,} MB. If it has more, say so by {MEMORY_SETTING} of the stage."
        )


def remove_account_settings(variables: dict[str, str]) -> None:
    """Remove what a stage says of its account: functions do not read it."""
    for name in (CONCURRENCY_SETTING, MEMORY_SETTING):
        variables.pop(name, None)


def remedy(reason: str) -> str:
    """Advice where CloudFormation failed because a function wants too much memory; else ""."""
    refused = re.search(r"'MemorySize' value failed .* less than or equal to (\d+)", reason)
    if refused is None:
        return ""
    return (
        f" This account gives a function {refused[1]} MB at most: set {MEMORY_SETTING} to {refused[1]} in "
        "the stage's environment_variables in .chalice/config.json and deploy again, or ask AWS for more."
    )
