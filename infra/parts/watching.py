"""What tells an operator that something is wrong: alarms, their topic, and a dashboard."""

from __future__ import annotations

import json

from infra.parts.names import FUNCTIONS, SOURCE_QUEUES, Json, dashed, queue_id, ref, sub

# A step that waits this long has too few workers, or workers that do not finish.
_OLDEST_MESSAGE_SECONDS = 3600


def alarms() -> Json:
    # Not encrypted with a key: CloudWatch may not use the AWS managed one of SNS, and messages say only which
    # alarm it is.
    resources: Json = {
        "Alarms": {"Type": "AWS::SNS::Topic", "Properties": {}},
        "SweepStoppedAlarm": _alarm(
            "The sweep has not run for five minutes: jobs may stay stuck.",
            _metric("AWS/Lambda", "Invocations", "FunctionName", ref("Sweep")),
            threshold=1,
            comparison="LessThanThreshold",
            missing="breaching",
        ),
        "ThrottlesAlarm": _alarm(
            "Lambda refuses to start functions: the account's concurrency is used up.",
            {
                "Metrics": [
                    _total("SUM(METRICS())"),
                    *(
                        _part(
                            f"m{at}", "AWS/Lambda", "Throttles", "FunctionName", function.logical_id
                        )
                        for at, function in enumerate(FUNCTIONS)
                    ),
                ]
            },
        ),
    }
    for function in FUNCTIONS:
        resources[f"{function.logical_id}ErrorsAlarm"] = _alarm(
            f"The function {function.name} failed, timed out or was killed.",
            _metric("AWS/Lambda", "Errors", "FunctionName", ref(function.logical_id)),
        )
    for queue in SOURCE_QUEUES:
        dead = f"{queue.name}_dead"
        resources[f"{queue_id(dead)}Alarm"] = _alarm(
            f"A message of {queue.name} failed every time and was buried: its job says why.",
            {
                "Metrics": [
                    # Received as well as visible: dead_letters takes them before anybody sees them lie there.
                    _total("FILL(m0, 0) + FILL(m1, 0)"),
                    *(
                        _part(f"m{at}", "AWS/SQS", name, "QueueName", f"{queue_id(dead)}.QueueName")
                        for at, name in enumerate(
                            ("ApproximateNumberOfMessagesVisible", "NumberOfMessagesReceived")
                        )
                    ),
                ]
            },
        )
        resources[f"{queue.logical_id}AgeAlarm"] = _alarm(
            f"The oldest message of {queue.name} has waited for more than an hour.",
            _metric(
                "AWS/SQS",
                "ApproximateAgeOfOldestMessage",
                "QueueName",
                {"Fn::GetAtt": [queue.logical_id, "QueueName"]},
                statistic="Maximum",
            ),
            threshold=_OLDEST_MESSAGE_SECONDS,
        )
    return resources


def _alarm(
    description: str,
    metric: Json,
    *,
    threshold: int = 1,
    comparison: str = "GreaterThanOrEqualToThreshold",
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
            "ComparisonOperator": comparison,
            "TreatMissingData": missing,
        },
    }


def _metric(
    namespace: str, name: str, dimension: str, value: Json, *, statistic: str = "Sum"
) -> Json:
    return {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": dimension, "Value": value}],
        "Statistic": statistic,
        "Period": 300,
    }


def _total(expression: str) -> Json:
    return {"Id": "total", "Expression": expression, "ReturnData": True}


def _part(metric_id: str, namespace: str, name: str, dimension: str, source: str) -> Json:
    return {
        "Id": metric_id,
        "ReturnData": False,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": dimension, "Value": sub(f"${{{source}}}")}],
            },
            "Period": 300,
            "Stat": "Sum",
        },
    }


def dashboard() -> Json:
    names = [queue.name for queue in SOURCE_QUEUES]
    functions = [function.name for function in FUNCTIONS]
    rows = [
        _widget("Jobs", [["Sluice", name] for name in _JOB_METRICS]),
        _widget(
            "Messages waiting", _queues(names, "ApproximateNumberOfMessagesVisible"), "Maximum"
        ),
        _widget("Oldest message (s)", _queues(names, "ApproximateAgeOfOldestMessage"), "Maximum"),
        _widget(
            "Dead letters",
            _queues([f"{name}-dead" for name in names], "NumberOfMessagesReceived"),
        ),
        _widget("Function errors", _functions(functions, "Errors")),
        _widget("Function duration, p95 (ms)", _functions(functions, "Duration"), "p95"),
        _widget("Functions at once", _functions(functions, "ConcurrentExecutions"), "Maximum"),
        _widget(
            "API",
            [
                ["AWS/ApiGateway", name, "ApiName", "sluice"]
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


# As chalicelib counts them.
_JOB_METRICS = ("JobsSuccess", "JobsFailure", "Retries", "SweptTasks", "DeadLetters")


def _queues(names: list[str], metric: str) -> list[list[str]]:
    return [
        ["AWS/SQS", metric, "QueueName", f"${{AWS::StackName}}-{dashed(name)}"] for name in names
    ]


def _functions(names: list[str], metric: str) -> list[list[str]]:
    return [
        ["AWS/Lambda", metric, "FunctionName", f"${{AWS::StackName}}-{dashed(name)}"]
        for name in names
    ]


def _widget(title: str, metrics: list[list[str]], statistic: str = "Sum") -> Json:
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
