"""The Lambdas: what Chalice leaves out of them. Roles, event mappings, environment, layers and disks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.model.mark import WATERMARKS
from chalicelib.settings import FunctionSize
from infra.stack.catalogue import (
    BATCH_SIZES,
    FUNCTIONS,
    LAYERS,
    OUTPUT_BUCKET,
    UPLOAD_BUCKET,
    Function,
    Json,
    arn,
    dashed,
    layer_id,
    queue_id,
    ref,
    sub,
)
from infra.stack.targets import Target

DISK_MB = 10240
_LEAST_DISK_MB = 512
# Memory that buys one core, as AWS documents it; and the part of several cores that FFmpeg keeps busy.
_MB_A_CORE = 1769
_BUSY = 0.75


def layers(architecture: str) -> Json:
    return {
        layer_id(layer): {
            "Type": "AWS::Serverless::LayerVersion",
            "Properties": {
                "LayerName": sub(f"${{AWS::StackName}}-{layer}"),
                "ContentUri": f"./{layer}.zip",
                "CompatibleRuntimes": ["python3.13"],
                "CompatibleArchitectures": [architecture],
                "RetentionPolicy": "Delete",
            },
        }
        for layer in LAYERS
    }


def sizes(memory: Mapping[str, int], target: Target) -> dict[str, FunctionSize]:
    """Memory, disk and cores of each function; `memory` is in MB, by the function's name."""
    return {
        function.name: FunctionSize(
            memory[function.name],
            DISK_MB if function.big_disk else _LEAST_DISK_MB,
            target.cores or _cores(memory[function.name]),
        )
        for function in FUNCTIONS
    }


def _cores(memory_mb: int) -> float:
    cores = memory_mb / _MB_A_CORE
    return round(cores if cores <= 1 else max(1.0, _BUSY * cores), 2)


def functions(
    target: Target,
    *,
    concurrency: Mapping[str, int | None],
    estimates: int,
    sizes: Mapping[str, FunctionSize],
    delete_originals: bool,
) -> Json:
    """The functions with their roles and log groups.

    `concurrency` is of each queue, None for any number; `estimates` executions are reserved for estimates, 0
    for none. With `delete_originals` the sweep has the right to.
    """
    resources: Json = {}
    for function in FUNCTIONS:
        resources[function.role_id] = _role(function, target, delete_originals)
        # Chalice's own log group name refers to the API's function by a wrong id.
        resources[function.log_group_id] = {
            "Properties": {"LogGroupName": sub(f"/aws/lambda/{_name(function)}")}
        }
        properties: Json = {
            "FunctionName": sub(_name(function)),
            "Role": arn(function.role_id),
            "Environment": {"Variables": _environment(function, sizes, target)},
        }
        if not _traced(function):
            properties["Tracing"] = "PassThrough"
        if function.name == "estimate" and estimates:
            properties["ReservedConcurrentExecutions"] = estimates
        if function.name == "sweep":
            # The schedule starts another run in a minute: Lambda must not repeat one that failed.
            properties["EventInvokeConfig"] = {
                "MaximumRetryAttempts": 0,
                "MaximumEventAgeInSeconds": 60,
            }
        if function.layer:
            properties["Layers"] = [ref(layer_id(function.layer))]
        if function.big_disk:
            properties["EphemeralStorage"] = {"Size": DISK_MB}
        if function.queue:
            properties["Events"] = {
                # Chalice's name of the mapping, so that this one replaces it.
                f"{function.logical_id}SqsEventSource": _mapping(
                    function.queue,
                    BATCH_SIZES.get(function.queue, 1),
                    concurrency.get(function.queue),
                )
            }
        resources[function.logical_id] = {
            "DependsOn": function.log_group_id,  # else Lambda creates one without an expiry
            "Properties": properties,
        }
    return resources


def _name(function: Function) -> str:
    return f"${{AWS::StackName}}-{dashed(function.name)}"


def _mapping(queue: str, batch_size: int, concurrency: int | None) -> Json:
    return {
        "Type": "SQS",
        "Properties": {
            "Queue": arn(queue_id(queue)),
            "BatchSize": batch_size,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            **({"ScalingConfig": {"MaximumConcurrency": concurrency}} if concurrency else {}),
        },
    }


def _environment(function: Function, sizes: Mapping[str, FunctionSize], target: Target) -> Json:
    variables: Json = {
        "POWERTOOLS_SERVICE_NAME": function.name,
        "POWERTOOLS_METRICS_NAMESPACE": ref("AWS::StackName"),
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "SLUICE_JOBS_TABLE": ref("JobsTable"),
        "SLUICE_UPLOAD_BUCKET": sub(UPLOAD_BUCKET),
        "SLUICE_OUTPUT_BUCKET": sub(OUTPUT_BUCKET),
    }
    own = (function.queue,) if function.queue else ()
    for queue in dict.fromkeys((*function.sends, *own)):
        variables[f"SLUICE_QUEUE_URL_{queue.upper()}"] = ref(queue_id(queue))
    if function.name == "api":
        # Not a Ref: on MiniStack that is the secret's name, not its ARN.
        variables["SLUICE_HLS_SECRET_ARN"] = sub("${HlsSecret.Id}")
        variables["SLUICE_API_URL"] = ref("ApiUrl")
        variables["SLUICE_ESTIMATE_FUNCTION"] = ref("Estimate")
    if function.name in ("api", "events"):
        variables["SLUICE_WEBHOOK_SECRET_ARN"] = sub("${WebhookSecret.Id}")
    if function.name in ("api", "estimate", "intake", "events"):  # they price work
        variables["SLUICE_FUNCTION_SIZES"] = msgspec.json.encode(sizes).decode()
    if not (target.traces and _traced(function)):
        variables["POWERTOOLS_TRACE_DISABLED"] = "true"
    return variables


def _traced(function: Function) -> bool:
    """All but the sweep: its traces, one a minute all month, would cost money."""
    return function.name != "sweep"


_UPLOADS = f"arn:${{AWS::Partition}}:s3:::{UPLOAD_BUCKET}"
_OUTPUTS = f"arn:${{AWS::Partition}}:s3:::{OUTPUT_BUCKET}"


def _role(function: Function, target: Target, delete_originals: bool) -> Json:
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "lambda.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
            "Policies": [
                {
                    "PolicyName": "least-privilege",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": statements(function, target, delete_originals),
                    },
                }
            ],
        },
    }


def statements(
    function: Function, target: Target, delete_originals: bool = False
) -> list[dict[str, Any]]:
    """The policy statements of a function: all that it may do."""
    deletes = delete_originals and function.name == "sweep"
    originals = [_allow("s3:DeleteObject", f"{_UPLOADS}/*")] if deletes else []
    return [*_own(function), *originals, *_common(function, target)]


def _own(function: Function) -> list[dict[str, Any]]:
    """Statements by the function's name."""
    match function.name:
        case "api":
            return [
                _allow("s3:GetObject", f"{_UPLOADS}/*"),
                # What it signs for clients, uploads in parts included, and the files of forms.
                _allow(
                    ("s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"),
                    f"{_UPLOADS}/uploads/*",
                ),
                _allow("s3:GetObject", f"{_OUTPUTS}/outputs/*", *_PLANS),
                # It changes jobs only to cancel and delete them. A canceled one has what its tasks have used.
                _rows("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"),
                _query("by_owner", "by_key"),
                _allow("secretsmanager:GetSecretValue", "${HlsSecret.Id}", "${WebhookSecret.Id}"),
                _allow("lambda:InvokeFunction", "${Estimate.Arn}"),
            ]
        case "estimate":  # nobody else reads the facts that it keeps
            return [
                _allow("s3:GetObject", f"{_UPLOADS}/*", _WATERMARKS),
                _allow(("s3:GetObject", "s3:PutObject"), f"{_OUTPUTS}/work/looked/*"),
            ]
        case "intake":
            return [
                _allow("s3:GetObject", f"{_UPLOADS}/*", _WATERMARKS),
                _allow(("s3:GetObject", "s3:PutObject"), f"{_OUTPUTS}/work/*"),
                # What a retried job has left.
                _allow("s3:ListBucket", _OUTPUTS),
                _rows("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"),
            ]
        case "events":
            return [
                _rows("BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"),
                _allow("secretsmanager:GetSecretValue", "${WebhookSecret.Id}"),
            ]
        case "dead_letters":
            return [
                _allow("s3:GetObject", f"{_UPLOADS}/*"),
                _allow("s3:PutObject", f"{_OUTPUTS}/work/dead_letters/*"),
                _rows("BatchGetItem", "PutItem", "UpdateItem"),
            ]
        case "sweep":
            return [
                _allow("s3:DeleteObject", f"{_OUTPUTS}/outputs/*", f"{_OUTPUTS}/work/*"),
                _allow("s3:ListBucket", _UPLOADS, _OUTPUTS),
                _rows("GetItem", "BatchGetItem", "UpdateItem", "Query", "BatchWriteItem"),
                _query("by_due"),
            ]
        case "encode" | "audio":
            published = f"{_OUTPUTS}/work/*", f"{_OUTPUTS}/outputs/*"
            marks = [_WATERMARKS] if function.name == "encode" else []
            # What a retried job has made is copied.
            return [_originals(*marks, f"{_OUTPUTS}/outputs/*"), *_worker(*published)]
        case "pictures":
            published = f"{_OUTPUTS}/work/*/copy-*", f"{_OUTPUTS}/outputs/*"  # copies of animations
            # Storyboards are made of the parts of renditions.
            listed = f"{_OUTPUTS}/outputs/*"
            return [
                _originals(_WATERMARKS, listed),
                *_worker(*published),
                _rows("BatchGetItem"),
            ]
        case _:
            # It reads the rows of a rendition's parts; those that HLS lists, too, lie among the outputs.
            listed = f"{_OUTPUTS}/outputs/*"
            return [
                *_worker(listed),
                _allow("s3:GetObject", listed),
                _rows("BatchGetItem"),
            ]


_WATERMARKS = f"{_OUTPUTS}/{WATERMARKS}*"
# The API computes growing playlists from plans.
_PLANS = tuple(f"{_OUTPUTS}/work/*/{name}-*" for name in ("plan", "replan"))


def _originals(*others: str) -> dict[str, Any]:
    return _allow("s3:GetObject", f"{_UPLOADS}/*", *others)


def _worker(*published: str) -> list[dict[str, Any]]:
    """Any worker: it reads plans, publishes under `published`, and may end the job."""
    return [
        _allow("s3:GetObject", f"{_OUTPUTS}/work/*"),
        # Large objects are stored in parts, which are given up where one of them cannot be.
        _allow(("s3:PutObject", "s3:AbortMultipartUpload"), *published),
        _rows("GetItem", "UpdateItem", "Query"),
    ]


def _common(function: Function, target: Target) -> list[dict[str, Any]]:
    logs = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda"
    statements = [
        _allow(("logs:CreateLogStream", "logs:PutLogEvents"), f"{logs}/{_name(function)}:*"),
    ]
    if _traced(function):
        # AWS takes no resource for these two.
        statements.append(_allow(("xray:PutTraceSegments", "xray:PutTelemetryRecords"), "*"))
    if function.queue:
        statements.append(
            _allow(
                (
                    "sqs:ReceiveMessage",
                    "sqs:DeleteMessage",
                    "sqs:GetQueueAttributes",
                    "sqs:ChangeMessageVisibility",
                ),
                f"${{{queue_id(function.queue)}.Arn}}",
            )
        )
    if function.sends:
        targets = (f"${{{queue_id(queue)}.Arn}}" for queue in function.sends)
        statements.append(_allow(("sqs:SendMessage", *target.send_actions), *targets))
    return statements


def _rows(*actions: str) -> dict[str, Any]:
    return _allow(tuple(f"dynamodb:{action}" for action in actions), "${JobsTable.Arn}")


def _query(*indexes: str) -> dict[str, Any]:
    return _allow("dynamodb:Query", *(f"${{JobsTable.Arn}}/index/{index}" for index in indexes))


def _allow(actions: str | tuple[str, ...], *resources: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": [actions] if isinstance(actions, str) else list(actions),
        "Resource": [sub(resource) if "${" in resource else resource for resource in resources],
    }
