"""Everything of the stack that Chalice cannot say, as the template that `chalice package` merges in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from chalicelib.settings import InvalidSetting, Prices, Settings, load
from infra.stack import alarms, functions, gateway, storage
from infra.stack.catalogue import ESTIMATES, FUNCTIONS, LOCAL_STAGES, SOURCE_QUEUES, Json, ref, sub
from infra.stack.gateway import Limits


class ChaliceConfig(Protocol):
    """What is asked of Chalice's Config."""

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
    """What a stage may choose of its stack, among its `environment_variables`."""

    limits: Limits
    # None is for ever.
    original_days: int | None
    output_days: int | None
    alarm_email: str | None
    alarm_day_usd: int
    # None is what the account allows.
    concurrency: dict[str, int | None]
    # Of estimates; 0 is what the account allows.
    estimates: int


def merge_template(config: ChaliceConfig) -> Json:
    """The template to merge; raises InvalidSetting where a variable of the stage cannot be used."""
    stage = config.chalice_stage
    local = stage in LOCAL_STAGES
    settings = load(config.environment_variables, Settings)
    load(config.environment_variables, Prices)
    chosen = _parameters(config.environment_variables, settings, local=local)
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
                local=local, original_days=chosen.original_days, output_days=chosen.output_days
            ),
            **storage.table(local=local),
            **storage.queues(timeouts, settings.max_receives),
            **storage.secret(),
            **functions.layers(config.lambda_architecture),
            **functions.functions(
                local=local,
                concurrency=chosen.concurrency,
                estimates=chosen.estimates,
                sizes=functions.sizes(memory, local=local),
            ),
            **gateway.rest_api(settings.auth, chosen.limits, local=local),
            **alarms.alarms(chosen.alarm_email, chosen.alarm_day_usd),
            # LocalStack knows no dashboards, and on a local cloud nobody would look at one.
            **({} if local else alarms.dashboard()),
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


def _parameters(variables: Mapping[str, str], settings: Settings, *, local: bool) -> Parameters:
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
        # A job may wait for its start as long as it may then take, and needs its original all the while.
        number("SLUICE_ORIGINAL_DAYS", None, 2 * math.ceil(settings.job_deadline_seconds / 86400)),
        number("SLUICE_OUTPUT_DAYS", None, 1),
        email("SLUICE_ALARM_EMAIL"),
        number("SLUICE_ALARM_DAY_USD", 50, 1),
        {
            # SQS accepts no less than two.
            queue.name: number(
                f"SLUICE_CONCURRENCY_{queue.name.upper()}", 2 if local else queue.concurrency, 2
            )
            for queue in SOURCE_QUEUES
        },
        number("SLUICE_CONCURRENCY_ESTIMATE", 0 if local else ESTIMATES, 0),
    )
    if unknown:
        raise InvalidSetting(f"There is no setting {', '.join(sorted(unknown))}.")
    return chosen
