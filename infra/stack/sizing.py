"""How large the functions are, and how many of each run at once: what the stage says, fitted to its account.

New accounts of AWS may give a function 3,008 MB at most, not 10,240, and run 10 functions at once, not 1,000.
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
_MOST_MEMORY_MB = 10240
# AWS's code of it. Of memory there is none.
_CONCURRENCY_QUOTA = "L-B99A9384"
# AWS reserves none of the last so many.
_UNRESERVED = 100
# SQS accepts no less for a queue.
_LEAST_CONCURRENCY = 2
# What a queue counts as that has no limit of its own.
_UNLIMITED = 100
# A film that is encoded at full size takes so much for each pixel of a frame (117 were measured, and 159 with
# tone mapping, of 4K, 5K and 8K on two cores), and the function so much besides.
_BYTES_A_PIXEL = 170
_BESIDES_MB = 300

# What a stage may say of its account.
CONCURRENCY_SETTING = "SLUICE_ACCOUNT_CONCURRENCY"
MEMORY_SETTING = "SLUICE_ACCOUNT_MEMORY_MB"
# How many files are looked at for estimates at once.
ESTIMATES_SETTING = "SLUICE_CONCURRENCY_ESTIMATE"


@dataclass(frozen=True)
class AccountLimits:
    """What an account allows in a region: functions at once, and the megabytes of one."""

    concurrency: int
    memory_mb: int


@dataclass(frozen=True)
class Sizes:
    """Of each function its memory; of each queue, how many run at once, None for any number.

    So many `estimates` at once, for which that number is reserved; 0 for none.
    """

    memory_mb: Mapping[str, int]
    concurrency: Mapping[str, int | None]
    max_video_pixels: int
    estimates: int


def limits_as_told(concurrency: int, unreserved: int) -> AccountLimits:
    """The limits of an account, by what Lambda tells of it.

    Of memory it tells nothing, and nobody else does: we take an account for new whose concurrency is.
    """
    new = concurrency < USUAL_CONCURRENCY
    return AccountLimits(unreserved, NEW_ACCOUNTS_MEMORY_MB if new else _MOST_MEMORY_MB)


def limits_of(variables: Mapping[str, str], told: AccountLimits | None) -> AccountLimits | None:
    """The limits to fit to: what was told, and what a stage's variables say; None where neither is.

    Of concurrency the smaller one counts, of memory what the stage says, which alone may know it.
    """
    concurrency = _number(variables, CONCURRENCY_SETTING, 1)
    memory_mb = _number(variables, MEMORY_SETTING, 1024)
    if told is None and concurrency is None and memory_mb is None:
        return None
    told = told or AccountLimits(concurrency or USUAL_CONCURRENCY, _MOST_MEMORY_MB)
    return AccountLimits(
        min(concurrency or told.concurrency, told.concurrency), memory_mb or told.memory_mb
    )


def _number(variables: Mapping[str, str], name: str, least: int) -> int | None:
    text = variables.get(name)
    if text is not None and not (text.isdecimal() and int(text) >= least):
        raise InvalidSetting(f"{name} is {text!r}; it must be a whole number from {least} on.")
    return None if text is None else int(text)


def configured(config: ChaliceConfig) -> Sizes:
    """What a stage wants, as .chalice/config.json says."""
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
                variables, f"SLUICE_CONCURRENCY_{queue.name.upper()}", _LEAST_CONCURRENCY
            )
            or queue.concurrency
            for queue in SOURCE_QUEUES
        },
        load(variables, Settings).max_video_pixels,
        ESTIMATES if estimates is None else estimates,
    )


def fit(wanted: Sizes, limits: AccountLimits) -> Sizes:
    """What is wanted, as far as the account allows it; what it runs at once, the queues share."""
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
    # A tenth is for the API and the sweep, and two for the dead letters.
    least = _LEAST_CONCURRENCY * len(wanted)
    room = max(least, concurrency * 9 // 10 - _LEAST_CONCURRENCY)
    asked = {name: number or _UNLIMITED for name, number in wanted.items()}
    if sum(asked.values()) <= room:
        return dict(wanted)
    share = (room - least) / (sum(asked.values()) - least)
    return {
        name: _LEAST_CONCURRENCY + int(share * (number - _LEAST_CONCURRENCY))
        for name, number in asked.items()
    }


def write(chosen: Sizes, stage: dict[str, Any]) -> None:
    """Put sizes into a stage of .chalice/config.json."""
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
    """What a stage gets, of this account if it is known; None where it is what the stage wants."""
    limits = limits_of(config.environment_variables, account)
    wanted = configured(config)
    chosen = fit(wanted, limits) if limits else wanted
    return None if chosen == wanted else chosen


def notes(config: ChaliceConfig, account: AccountLimits | None) -> Iterator[str]:
    """What is to be said of the sizes: which were made smaller, why, and how to get more."""
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
    together = sum(number or 0 for number in chosen.concurrency.values()) + _LEAST_CONCURRENCY
    if together > limits.concurrency:
        yield (
            f"  The queues may ask for {together} functions at once, since SQS takes no less than "
            f"{_LEAST_CONCURRENCY} of each: what finds no room waits, and the API may answer with a 5xx."
        )
    if chosen.concurrency != wanted.concurrency:
        yield (
            "More at once: `aws service-quotas request-service-quota-increase --service-code lambda "
            f"--quota-code {_CONCURRENCY_QUOTA} --desired-value {USUAL_CONCURRENCY}`."
        )
    if chosen.memory_mb != wanted.memory_mb:
        yield (
            'More memory: a case with AWS Support (service Lambda, quota "Function memory maximum", '
            f"{_MOST_MEMORY_MB} MB). AWS tells nobody how much an account has; of a new one we assume "
            f"{NEW_ACCOUNTS_MEMORY_MB:,} MB. If it has more, say so by {MEMORY_SETTING} of the stage."
        )


def forget_account(variables: dict[str, str]) -> None:
    """Leave out what a stage says of its account: the functions have no use for it."""
    for name in (CONCURRENCY_SETTING, MEMORY_SETTING):
        variables.pop(name, None)


def remedy(reason: str) -> str:
    """What helps where CloudFormation failed because a function wants more memory than the account gives."""
    refused = re.search(r"'MemorySize' value failed .* less than or equal to (\d+)", reason)
    if refused is None:
        return ""
    return (
        f" This account gives a function {refused[1]} MB at most: set {MEMORY_SETTING} to {refused[1]} in "
        "the stage's environment_variables in .chalice/config.json and deploy again, or ask AWS for more."
    )
