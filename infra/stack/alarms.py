"""Alarms, the topic that they notify, and a dashboard."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.store.queues import DEAD_LETTERS, QUEUES
from infra.stack.catalogue import FUNCTIONS, Json, dashed, queue_id, ref, sub

# A queue whose messages wait this long has too few workers, or workers that do not finish.
_OLDEST_MESSAGE_SECONDS = 3600
_DAY = 86400


def alarms(email: str | None, dollars_a_day: int) -> Json:
    """The alarms and their topic; few, for each costs money all month. See docs/operations.md."""
    # The topic is not encrypted: CloudWatch may not use SNS's AWS managed key, and a message names only the
    # alarm. No metric math: it is charged as one alarm for each metric, and MiniStack has none.
    resources: Json = {
        "Alarms": {"Type": "AWS::SNS::Topic", "Properties": {}},
        "SweepAlarm": _alarm(
            "The sweep fails, or has not run for five minutes: jobs may stay stuck.",
            # Lambda writes a zero for each run without an error, so that no data means no run.
            _metric("AWS/Lambda", "Errors", FunctionName=ref("Sweep")),
            missing="breaching",
        ),
        "SpendAlarm": _alarm(
            "What was started today is estimated to cost more than SLUICE_ALARM_DAY_USD.",
            _metric(ref("AWS::StackName"), "EstimatedDollars", period=_DAY, service="intake"),
            threshold=dollars_a_day,
        ),
        "ApiErrorsAlarm": _alarm(
            "The API answered a request with a 5xx: its log tells the reason by the request id.",
            _metric("AWS/ApiGateway", "5XXError", ApiName=ref("AWS::StackName")),
        ),
        f"{queue_id(DEAD_LETTERS)}Alarm": _alarm(
            "A message came too often; the sweep looks at its job. What is left of such is listed by "
            "`python -m infra dlq ls --stage STAGE`, and sent back by `dlq redrive`.",
            # Not ApproximateNumberOfMessagesVisible: dead_letters consumes them before CloudWatch counts.
            _metric("AWS/SQS", "NumberOfMessagesReceived", QueueName=_queue_name(DEAD_LETTERS)),
        ),
    }
    if email:
        resources["AlarmEmail"] = {
            "Type": "AWS::SNS::Subscription",
            "Properties": {"TopicArn": ref("Alarms"), "Protocol": "email", "Endpoint": email},
        }
    # The other queues get only as much as these two let through.
    for queue in ("intake", "encode"):
        resources[f"{queue_id(queue)}AgeAlarm"] = _alarm(
            f"The oldest message of {queue} has waited for more than an hour.",
            _metric(
                "AWS/SQS",
                "ApproximateAgeOfOldestMessage",
                statistic="Maximum",
                QueueName=_queue_name(queue),
            ),
            threshold=_OLDEST_MESSAGE_SECONDS,
        )
    return resources


def _queue_name(queue: str) -> Json:
    return {"Fn::GetAtt": [queue_id(queue), "QueueName"]}


def _alarm(
    description: str,
    metric: Json,
    *,
    threshold: int = 1,
    missing: str = "notBreaching",
) -> Json:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": description,
            "AlarmActions": [ref("Alarms")],
            "OKActions": [ref("Alarms")],
            **metric,
            "EvaluationPeriods": 1,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": missing,
        },
    }


def _metric(
    namespace: str | Json,
    name: str,
    *,
    statistic: str = "Sum",
    period: int = 300,
    **dimensions: str | Json,
) -> Json:
    return {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        "Statistic": statistic,
        "Period": period,
    }


def dashboard() -> Json:
    """The dashboard of jobs, queues, functions and the API."""
    names = list(QUEUES)
    functions = [function.name for function in FUNCTIONS]
    rows = [
        _widget("Jobs", [_of_all_functions(name) for name in _JOB_METRICS]),
        _widget("Estimated cost of what was started ($)", [_of_all_functions("EstimatedDollars")]),
        _widget(
            "Messages waiting", _queues(names, "ApproximateNumberOfMessagesVisible"), "Maximum"
        ),
        _widget("Oldest message (s)", _queues(names, "ApproximateAgeOfOldestMessage"), "Maximum"),
        _widget(
            "Dead letters",
            _queues([DEAD_LETTERS], "NumberOfMessagesReceived"),
        ),
        _widget("Function errors", _functions(functions, "Errors")),
        _widget("Function duration, p95 (ms)", _functions(functions, "Duration"), "p95"),
        _widget("Functions at once", _functions(functions, "ConcurrentExecutions"), "Maximum"),
        _widget(
            "API",
            [
                ["AWS/ApiGateway", name, "ApiName", "${AWS::StackName}"]
                for name in ("Count", "4XXError", "5XXError")
            ],
        ),
    ]
    widgets = [
        widget | {"x": 12 * (at % 2), "y": 6 * (at // 2), "width": 12, "height": 6}
        for at, widget in enumerate(rows)
    ]
    return {
        "Dashboard": {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {
                "DashboardName": sub("${AWS::StackName}"),
                "DashboardBody": sub(json.dumps({"widgets": widgets})),
            },
        }
    }


# Metrics that chalicelib writes.
_JOB_METRICS = ("JobsSuccess", "JobsFailure", "Retries", "SweptJobs", "DeadLetters")


def _of_all_functions(metric: str) -> list[Any]:
    """The sum of one of our metrics over all functions; Powertools gives each the dimension `service`."""
    search = f'{{"${{AWS::StackName}}",service}} MetricName="{metric}"'
    return [{"expression": f"SUM(SEARCH('{search}', 'Sum', 60))", "label": metric}]


def _queues(names: list[str], metric: str) -> list[list[str]]:
    return [
        ["AWS/SQS", metric, "QueueName", f"${{AWS::StackName}}-{dashed(name)}"] for name in names
    ]


def _functions(names: list[str], metric: str) -> list[list[str]]:
    return [
        ["AWS/Lambda", metric, "FunctionName", f"${{AWS::StackName}}-{dashed(name)}"]
        for name in names
    ]


def _widget(title: str, metrics: list[Any], statistic: str = "Sum") -> Json:
    return {
        "type": "metric",
        "properties": {
            "title": title,
            "metrics": metrics,
            "stat": statistic,
            "period": 60,
            "region": "${AWS::Region}",
            "view": "timeSeries",
        },
    }
