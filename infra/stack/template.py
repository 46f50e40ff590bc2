"""The template that `chalice package` merges into its own: everything that Chalice cannot say."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from chalicelib.settings import InvalidSetting, Prices, Settings, load
from infra.stack import alarms, functions, gateway, storage
from infra.stack.catalogue import FUNCTIONS, SOURCE_QUEUES, Json, ref, sub
from infra.stack.gateway import Limits
from infra.stack.targets import Target, target_of


class ChaliceConfig(Protocol):
    """The part of Chalice's Config that is used here."""

    @property
    def chalice_stage(self) -> str: ...
    @property
    def lambda_architecture(self) -> str: ...
    @property
    def lambda_timeout(self) -> int: ...
    @property
    def lambda_memory_size(self) -> int: ...
    @property
    def environment_variables(self) -> dict[str, str]: ...
    def scope(self, chalice_stage: str, function_name: str) -> ChaliceConfig: ...


@dataclass(frozen=True)
class Parameters:
    """Choices of a stage that shape its stack, from its `environment_variables`."""

    limits: Limits
    # Days until files expire; None: never.
    original_days: int | None
    output_days: int | None
    alarm_email: str | None
    alarm_day_usd: int
    # Messages in work at once, by queue; None: as many as the account allows.
    concurrency: dict[str, int | None]
    # Executions that are reserved for estimates; 0: none.
    estimates: int


def merge_template(config: ChaliceConfig) -> Json:
    """The template to merge. Raises InvalidSetting where a variable of the stage is not valid."""
    stage = config.chalice_stage
    target = target_of(stage)
    settings = load(config.environment_variables, Settings)
    load(config.environment_variables, Prices)
    chosen = _parameters(config.environment_variables, settings, target)
    scopes = {function.name: config.scope(stage, function.config_name) for function in FUNCTIONS}
    timeouts = {name: scope.lambda_timeout for name, scope in scopes.items()}
    memory = {name: scope.lambda_memory_size for name, scope in scopes.items()}
    return {
        "Description": f"Sluice, a serverless media pipeline: stage {stage}",
        "Parameters": {
            "ApiUrl": {
                "Type": "String",
                "Default": "",
                "Description": "The public base of the API; empty: as API Gateway tells it",
            }
        },
        "Resources": {
            **storage.buckets(
                target,
                original_days=chosen.original_days,
                output_days=chosen.output_days,
                upload_seconds=settings.multipart_upload_seconds,
            ),
            **storage.table(target),
            **storage.queues(timeouts, settings.max_receives),
            **storage.secret(),
            **functions.layers(config.lambda_architecture),
            **functions.functions(
                target,
                concurrency=chosen.concurrency,
                estimates=chosen.estimates,
                sizes=functions.sizes(memory, target),
                delete_originals=settings.delete_originals,
            ),
            **gateway.rest_api(settings.auth, chosen.limits, target),
            **alarms.alarms(chosen.alarm_email, chosen.alarm_day_usd),
            **(alarms.dashboard() if target.dashboard else {}),
        },
        "Outputs": {
            "ApiUrl": {
                "Value": sub(
                    "https://${RestAPI}.execute-api.${AWS::Region}.${AWS::URLSuffix}/api",
                )
            },
            "UploadBucket": {"Value": ref("UploadBucket")},
            "OutputBucket": {"Value": ref("OutputBucket")},
            "JobsTable": {"Value": ref("JobsTable")},
            "IntakeQueueUrl": {"Value": ref("IntakeQueue")},
            "AlarmTopic": {"Value": ref("Alarms")},
            **({"ApiKeyId": {"Value": ref("ApiKey")}} if settings.auth == "api_key" else {}),
        },
    }


def _parameters(variables: Mapping[str, str], settings: Settings, target: Target) -> Parameters:
    known = {
        field.encode_name for shape in (Settings, Prices) for field in msgspec.structs.fields(shape)
    }
    unknown = {name for name in variables if name.startswith("SLUICE_")} - known

    def number[D: int | None](name: str, default: D, least: int) -> int | D:
        unknown.discard(name)
        if name not in variables:
            return default
        text = variables[name]
        if not text.isdecimal() or int(text) < least:
            raise InvalidSetting(f"{name} is {text!r}; it must be a whole number from {least} on.")
        return int(text)

    def email(name: str) -> str | None:
        unknown.discard(name)
        text = variables.get(name)
        if text is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
            raise InvalidSetting(f"{name} is {text!r}; it must be an e-mail address.")
        return text

    chosen = Parameters(
        Limits(
            number("SLUICE_RATE_LIMIT", 100, 1),
            number("SLUICE_BURST_LIMIT", 200, 1),
            number("SLUICE_HLS_RATE_LIMIT", 500, 1),
            number("SLUICE_HLS_BURST_LIMIT", 1000, 1),
            number("SLUICE_MONTHLY_QUOTA", None, 1),
        ),
        # A job needs its original while it waits to start and while it runs; each may last the deadline.
        number("SLUICE_ORIGINAL_DAYS", None, 2 * math.ceil(settings.job_deadline_seconds / 86400)),
        number("SLUICE_OUTPUT_DAYS", None, 1),
        email("SLUICE_ALARM_EMAIL"),
        number("SLUICE_ALARM_DAY_USD", 50, 1),
        {
            # SQS accepts no less than two.
            queue.name: number(
                f"SLUICE_CONCURRENCY_{queue.name.upper()}",
                target.concurrency or queue.concurrency,
                2,
            )
            for queue in SOURCE_QUEUES
        },
        number("SLUICE_CONCURRENCY_ESTIMATE", target.estimates, 0),
    )
    if unknown:
        raise InvalidSetting(f"There is no setting {', '.join(sorted(unknown))}.")
    return chosen
