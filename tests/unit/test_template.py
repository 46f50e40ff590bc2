"""The stack that is deployed, as packaged: wiring, rights, sizes; also what the emulator does not check."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from app import app
from benchmarks import imports
from chalicelib.model.pools import POOLS
from chalicelib.planning import copying
from chalicelib.settings import FunctionSize, InvalidSetting, Prices
from chalicelib.store import clients
from chalicelib.store.queues import DEAD_LETTERS, QUEUES
from infra.deploying.build import SERVICES, build
from infra.paths import LOCAL, ROOT
from infra.stack import sizing
from infra.stack.catalogue import (
    ESTIMATES,
    FUNCTIONS,
    OUTPUT_BUCKET,
    UPLOAD_BUCKET,
    dashed,
    queue_id,
)
from infra.stack.template import merge_template

MB = 1_000_000
BY_NAME = {function.name: function for function in FUNCTIONS}
ELF_MACHINES = {"x86_64": 62, "arm64": 183}
# AWS lets nobody name a resource for these.
NAMELESS = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


@pytest.fixture(scope="module", params=["x86_64", "arm64"])
def package(request: pytest.FixtureRequest) -> Path:
    return build("prod", request.param, "api_key").folder


@pytest.fixture(scope="module")
def template() -> Any:
    folder = build("prod", "x86_64", "api_key").folder
    return json.loads((folder / "sam.json").read_text())["Resources"]


# The architecture changes one word of each function and layer: to see it once is enough.
LINTED = (
    ("local", "none", None),
    ("test", "iam", None),
    ("test", "api_key", None),
    ("prod", "none", "x86_64"),
    ("prod", "iam", "x86_64"),
    ("prod", "api_key", "x86_64"),
    ("prod", "api_key", "arm64"),
)


@pytest.mark.slow
def test_cfn_lint_finds_nothing() -> None:
    """It is asked once about each template: what it has passed, the same version passes again."""
    passed = LOCAL / "cache" / f"cfn-lint-{version('cfn-lint')}"
    passed.mkdir(parents=True, exist_ok=True)
    unseen: dict[Path, Path] = {}
    for stage, auth, architecture in LINTED:
        template = build(stage, architecture, auth).folder / "sam.json"
        known = passed / hashlib.sha256(template.read_bytes()).hexdigest()
        if not known.exists():
            unseen[template] = known
    if unseen:
        linted = subprocess.run(
            [Path(sys.executable).with_name("cfn-lint"), *unseen],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (linted.stdout, linted.returncode) == ("", 0)
    for known in unseen.values():
        known.touch()


def test_every_function_of_the_app_is_in_the_template(template: Any) -> None:
    handlers = {
        resource["Properties"]["Handler"]
        for resource in template.values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    others: list[Any] = [*app.event_sources, *app.pure_lambda_functions]
    assert handlers == {"app.app", *(f"app.{source.name}" for source in others)}
    assert {function.logical_id for function in FUNCTIONS} == {
        name
        for name, resource in template.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def test_every_function_says_its_memory_and_its_timeout() -> None:
    said = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
    assert said.keys() == {function.config_name for function in FUNCTIONS}
    for settings in said.values():
        assert settings.keys() == {"lambda_memory_size", "lambda_timeout"}


def test_every_pool_has_a_function_and_a_queue_and_ffmpeg_is_where_it_runs() -> None:
    for pool in POOLS:
        assert BY_NAME[pool].queue == pool
    assert {name for name, function in BY_NAME.items() if function.layer == "pyav"} == {
        "estimate",
        "intake",
    }
    with_ffmpeg = {name for name, function in BY_NAME.items() if function.layer == "ffmpeg"}
    assert with_ffmpeg == {"pictures", "encode", "audio"}


LIMITS = {"intake": 50, "pictures": 50, "encode": 500, "audio": 100, "events": 50}


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_outlasts_its_function_and_buries_its_dead(template: Any, queue: str) -> None:
    properties = template[queue_id(queue)]["Properties"]
    timeout = template[BY_NAME[queue].logical_id]["Properties"]["Timeout"]
    assert properties["VisibilityTimeout"] == timeout + 30
    redrive = properties["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == 20  # well above the five tries of a task
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [queue_id(DEAD_LETTERS), "Arn"]}
    source, mapping = source_of(template, queue)
    assert source == queue_id(queue)
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping.get("ScalingConfig") == (
        None if queue == "package" else {"MaximumConcurrency": LIMITS[queue]}
    )
    # What can take minutes comes alone; of what takes a moment, a few share a start.
    assert mapping["BatchSize"] == (5 if queue in ("intake", "pictures") else 1)


def test_a_copy_has_the_time_and_the_disk_that_it_is_thought_to_have(template: Any) -> None:
    for function in ("Encode", "Audio"):
        properties = template[function]["Properties"]
        assert properties["Timeout"] == copying.ENCODE_SECONDS
        assert properties["EphemeralStorage"]["Size"] * 1024**2 == copying.DISK_BYTES


def source_of(template: Any, function: str) -> tuple[str, Any]:
    """The one queue that starts a function, and how."""
    events = template[BY_NAME[function].logical_id]["Properties"]["Events"].values()
    (mapping,) = [event["Properties"] for event in events if event["Type"] == "SQS"]
    return mapping["Queue"]["Fn::Sub"][2:-5], mapping


def test_every_dead_letter_is_consumed_and_kept_while_it_cannot_be(template: Any) -> None:
    source, _ = source_of(template, "dead_letters")
    assert source == queue_id(DEAD_LETTERS)
    assert template[source]["Properties"]["MessageRetentionPeriod"] == 14 * 86400
    variables = template["DeadLetters"]["Properties"]["Environment"]["Variables"]
    assert variables["SLUICE_QUEUE_URL_DEAD_LETTERS"] == {"Ref": queue_id(DEAD_LETTERS)}


def statements(template: Any, function: str) -> list[Any]:
    (policy,) = template[BY_NAME[function].role_id]["Properties"]["Policies"]
    return list(policy["PolicyDocument"]["Statement"])


@pytest.mark.parametrize("function", BY_NAME)
def test_a_role_names_what_it_may_do_and_to_what(template: Any, function: str) -> None:
    properties = template[BY_NAME[function].logical_id]["Properties"]
    assert BY_NAME[function].role_id in json.dumps(properties["Role"])
    for statement in statements(template, function):
        assert not [action for action in statement["Action"] if "*" in action]
        if "*" in statement["Resource"]:
            assert set(statement["Action"]) <= NAMELESS


def test_who_may_end_a_job_may_sum_up_its_tasks_and_nobody_else(template: Any) -> None:
    summing = {
        function
        for function in BY_NAME
        for statement in statements(template, function)
        if "dynamodb:Query" in statement["Action"]
        and {"Fn::Sub": "${JobsTable.Arn}"} in statement["Resource"]
    }
    assert summing == BY_NAME.keys() - {"dead_letters", "estimate"}


def may(template: Any, function: str, action: str) -> set[str]:
    """What a function may do this to; with their names for buckets and the table."""
    return {
        resource["Fn::Sub"].rpartition(":::")[2] if "Fn::Sub" in resource else str(resource)
        for statement in statements(template, function)
        if action in statement["Action"]
        for resource in statement["Resource"]
    }


def test_a_function_reads_and_lists_no_more_than_it_works_on(template: Any) -> None:
    uploads = UPLOAD_BUCKET
    plans = {f"{OUTPUT_BUCKET}/work/*/{name}-*" for name in ("plan", "replan")}
    reading = {f for f in BY_NAME if f"{uploads}/*" in may(template, f, "s3:GetObject")}
    pools = ("pictures", "encode", "audio")
    assert reading == {"api", "estimate", "intake", "dead_letters", *pools}
    assert {f for f in BY_NAME if may(template, f, "s3:ListBucket")} == {"sweep", "intake"}
    assert may(template, "intake", "s3:ListBucket") == {OUTPUT_BUCKET}
    assert may(template, "api", "s3:GetObject") == {
        f"{uploads}/*",
        f"{OUTPUT_BUCKET}/outputs/*",
        *plans,
    }
    assert may(template, "sweep", "s3:GetObject") == set()


def test_the_api_signs_uploads_in_parts_of_keys_that_it_makes_and_of_no_others(
    template: Any,
) -> None:
    made = {f"{UPLOAD_BUCKET}/uploads/*"}
    for action in ("PutObject", "ListMultipartUploadParts", "AbortMultipartUpload"):
        assert may(template, "api", f"s3:{action}") == made
    assert not may(template, "api", "s3:DeleteObject")
    assert not may(template, "api", "s3:ListBucketMultipartUploads")


def test_what_estimates_may_do_nothing_else_but_keep_what_it_has_seen(template: Any) -> None:
    looked = f"{OUTPUT_BUCKET}/work/looked/*"
    marks = f"{OUTPUT_BUCKET}/watermarks/*"
    assert may(template, "estimate", "s3:GetObject") == {f"{UPLOAD_BUCKET}/*", looked, marks}
    assert may(template, "estimate", "s3:PutObject") == {looked}
    services = {
        action.partition(":")[0]
        for statement in statements(template, "estimate")
        for action in statement["Action"]
    }
    assert services == {"s3", "logs", "xray"}
    others = BY_NAME.keys() - {"estimate"}
    # What others keep they keep elsewhere: nobody is told what a decoder that was taken over has seen.
    assert not [f for f in others if looked in may(template, f, "s3:GetObject")]
    invoking = {f for f in BY_NAME if may(template, f, "lambda:InvokeFunction")}
    assert invoking == {"api"}
    (statement,) = [
        each for each in statements(template, "api") if "lambda:InvokeFunction" in each["Action"]
    ]
    assert statement["Resource"] == [{"Fn::Sub": "${Estimate.Arn}"}]


def test_estimates_take_a_part_of_the_account_and_end_before_the_gateway_does(
    template: Any,
) -> None:
    properties = template["Estimate"]["Properties"]
    assert properties["ReservedConcurrentExecutions"] == ESTIMATES == 5
    waits: Any = clients.lambdas().meta.config
    assert properties["Timeout"] <= waits.read_timeout - 1
    assert waits.read_timeout + waits.connect_timeout < 29
    assert waits.retries["total_max_attempts"] == 1
    assert template["APIHandler"]["Properties"]["Environment"]["Variables"][
        "SLUICE_ESTIMATE_FUNCTION"
    ] == {"Ref": "Estimate"}


@pytest.mark.parametrize("logical_id", ["APIHandler", "Estimate", "Intake"])
def test_who_prices_work_knows_what_each_function_is_given(template: Any, logical_id: str) -> None:
    variables = template[logical_id]["Properties"]["Environment"]["Variables"]
    told = msgspec.json.decode(variables["SLUICE_FUNCTION_SIZES"], type=dict[str, FunctionSize])
    assert told.keys() == BY_NAME.keys()
    assert told["encode"] == FunctionSize(10240, 10240, 4.34)
    assert told["package"] == FunctionSize(1769, 512, 1.0)
    for name, size in told.items():
        properties = template[BY_NAME[name].logical_id]["Properties"]
        disk = properties.get("EphemeralStorage", {"Size": 512})["Size"]
        assert (size.memory_mb, size.disk_mb) == (properties["MemorySize"], disk)


@pytest.mark.parametrize("function", [f.name for f in FUNCTIONS if f.queue])
def test_a_function_may_take_from_its_queues_and_no_others(template: Any, function: str) -> None:
    allowed = {
        action: {resource["Fn::Sub"] for resource in statement["Resource"]}
        for statement in statements(template, function)
        for action in statement["Action"]
        if action.startswith("sqs:")
    }
    queue = BY_NAME[function].queue
    assert queue
    own = {f"${{{queue_id(queue)}.Arn}}"}
    taking = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
    for action in taking:
        assert allowed[f"sqs:{action}"] == own
    sends = {f"${{{queue_id(queue)}.Arn}}" for queue in BY_NAME[function].sends}
    assert allowed.get("sqs:SendMessage", set()) == sends


@pytest.mark.parametrize("function", BY_NAME)
def test_a_function_writes_to_its_own_logs(template: Any, function: str) -> None:
    own = f"${{AWS::StackName}}-{dashed(function)}:*"
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        (log,) = may(template, function, action)
        assert log.endswith(f":log-group:/aws/lambda/{own}")


@pytest.mark.parametrize("function", BY_NAME)
def test_all_but_the_sweep_are_traced(template: Any, function: str) -> None:
    """Once a minute, each of its runs would be traced, and paid for, while nothing happens."""
    properties = template[BY_NAME[function].logical_id]["Properties"]
    traced = function != "sweep"
    assert properties["Tracing"] == ("Active" if traced else "PassThrough")
    actions = {
        action for statement in statements(template, function) for action in statement["Action"]
    }
    assert (actions >= {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}) == traced
    variables = properties["Environment"]["Variables"]
    assert variables.get("POWERTOOLS_TRACE_DISABLED") == (None if traced else "true")


def test_a_sweep_that_failed_is_not_run_again_beside_the_next(template: Any) -> None:
    """Lambda would, twice, and for hours where it is throttled."""
    (config,) = of_type(translated(template), "AWS::Lambda::EventInvokeConfig")
    assert config["FunctionName"] == {"Ref": "Sweep"}
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)


def test_only_the_gateway_may_call_the_api(template: Any) -> None:
    (permission,) = [r for r in template.values() if r["Type"] == "AWS::Lambda::Permission"]
    assert permission["Properties"]["Action"] == "lambda:InvokeFunction"
    assert "RestAPIId" in json.dumps(permission["Properties"]["SourceArn"])


@pytest.mark.parametrize("bucket", ["UploadBucket", "OutputBucket"])
def test_buckets_are_private_encrypted_and_tls_only(template: Any, bucket: str) -> None:
    properties = template[bucket]["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert "BucketEncryption" in properties
    assert template[bucket]["DeletionPolicy"] == "RetainExceptOnCreate"
    policy = json.dumps(template[f"{bucket}Policy"])
    assert template[f"{bucket}Policy"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert '"aws:SecureTransport": "false"' in policy
    rules = json.dumps(properties["LifecycleConfiguration"])
    assert "AbortIncompleteMultipartUpload" in rules


def test_a_browser_may_upload_and_watch(template: Any) -> None:
    (upload,) = template["UploadBucket"]["Properties"]["CorsConfiguration"]["CorsRules"]
    assert set(upload["AllowedMethods"]) == {"PUT", "POST", "GET", "DELETE"}
    assert (upload["ExposedHeaders"], upload["AllowedHeaders"]) == (["ETag"], ["*"])
    (output,) = template["OutputBucket"]["Properties"]["CorsConfiguration"]["CorsRules"]
    assert set(output["AllowedMethods"]) == {"GET", "HEAD"}
    assert output["AllowedOrigins"] == ["*"]


def test_the_table_expires_rows_and_survives_its_stack(template: Any) -> None:
    table = template["JobsTable"]
    assert table["DeletionPolicy"] == "RetainExceptOnCreate"
    # Without it DynamoDB encrypts with a key of its own, which costs nothing.
    assert "SSESpecification" not in table["Properties"]
    assert table["Properties"]["TimeToLiveSpecification"] == {
        "AttributeName": "expires_at",
        "Enabled": True,
    }


def test_the_api_asks_for_a_key_everywhere_but_where_a_token_or_a_browser_stands(
    template: Any,
) -> None:
    paths = template["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    open_to_all = {
        (path, method)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "security" not in operation
    }
    assert {method for _, method in open_to_all if _ not in OPEN} == {"options"}
    assert {(path, "get") for path in OPEN} <= open_to_all


OPEN = ("/jobs/{job_id}/hls/{token}/{name}", "/openapi.json")


def translated(template: Any) -> list[Any]:
    """The resources that SAM makes of a template."""
    resources = copy.deepcopy(template)
    for resource in resources.values():
        for uri in {"CodeUri", "ContentUri"} & resource["Properties"].keys():
            resource["Properties"][uri] = "s3://bucket/key"
    source = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
    made = Translator({}, Parser()).translate(source, {})["Resources"].values()
    return list(made)


def of_type(resources: list[Any], kind: str) -> list[Any]:
    return [resource["Properties"] for resource in resources if resource["Type"] == kind]


def test_the_only_stage_is_throttled_and_keys_have_a_plan(template: Any) -> None:
    """As SAM makes it of the template; by itself it would add a stage named Stage."""
    made = translated(template)
    (stage,) = of_type(made, "AWS::ApiGateway::Stage")
    everything, *_ = stage["MethodSettings"]
    assert (everything["ResourcePath"], everything["HttpMethod"]) == ("/*", "*")
    assert (everything["ThrottlingRateLimit"], everything["ThrottlingBurstLimit"]) == (100, 200)
    # Metrics of each method cost.
    assert not [each for each in stage["MethodSettings"] if "MetricsEnabled" in each]
    deployments = of_type(made, "AWS::ApiGateway::Deployment")
    assert [deployment.get("StageName") for deployment in deployments] == [None]
    plan = template["UsagePlan"]["Properties"]
    assert plan["Throttle"] == {"RateLimit": 100, "BurstLimit": 200}
    assert "Quota" not in plan


def test_viewers_have_limits_of_their_own(template: Any) -> None:
    (stage,) = of_type(translated(template), "AWS::ApiGateway::Stage")
    paths = template["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    of_viewers = {
        (f"/{path.replace('/', '~1')}", method.upper())
        for path, methods in paths.items()
        if "/hls/" in path
        for method in methods
        if method in ("get", "head")
    }
    _, *own = stage["MethodSettings"]
    assert {(each["ResourcePath"], each["HttpMethod"]) for each in own} == of_viewers
    path = "/~1jobs~1{job_id}~1hls~1{token}~1{name}"
    assert of_viewers == {(path, "GET"), (path, "HEAD")}
    for each in own:
        assert (each["ThrottlingRateLimit"], each["ThrottlingBurstLimit"]) == (500, 1000)


def test_what_the_gateway_answers_for_us_counts_as_our_mistake(template: Any) -> None:
    """AWS counts an answer whose status a template gives as 4XXError, whichever it gives."""
    responses = template["RestAPI"]["Properties"]["GatewayResponses"]
    statuses = {kind: response.get("StatusCode") for kind, response in responses.items()}
    unmodified = {kind for kind, status in statuses.items() if status is None}
    assert unmodified == {
        *("DEFAULT_5XX", "API_CONFIGURATION_ERROR", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT"),
        *("AUTHORIZER_FAILURE", "AUTHORIZER_CONFIGURATION_ERROR"),
    }
    for kind in unmodified - {"DEFAULT_5XX"}:
        body = json.loads(responses[kind]["ResponseTemplates"]["application/json"])
        # As AWS documents what it answers by itself.
        assert body["status"] == (504 if kind.startswith("INTEGRATION") else 500)
    # The metrics are found by the API's name, which both of these say.
    api = template["RestAPI"]["Properties"]
    assert api["DefinitionBody"]["info"]["title"] == {"Fn::Sub": "${AWS::StackName}"}
    assert api["Name"] == {"Ref": "AWS::StackName"}


def test_playlists_are_compressed_and_forms_are_not_touched(template: Any) -> None:
    api = template["RestAPI"]["Properties"]
    assert 0 < api["MinimumCompressionSize"] <= 1400  # what one packet takes anyway
    assert api["BinaryMediaTypes"] == ["multipart/form-data"]


Alarm = tuple[str, str, str]


def test_something_tells_the_operator(template: Any) -> None:
    said: set[Alarm] = set()
    for properties in of_type(list(template.values()), "AWS::CloudWatch::Alarm"):
        (dimension,) = properties["Dimensions"]
        namespace = properties["Namespace"]
        said.add(
            (
                namespace if isinstance(namespace, str) else json.dumps(namespace),
                properties["MetricName"],
                json.dumps(dimension["Value"]),
            )
        )
        assert properties["AlarmActions"] == [{"Ref": "Alarms"}]
    assert said == {
        ("AWS/Lambda", "Errors", '{"Ref": "Sweep"}'),
        ('{"Ref": "AWS::StackName"}', "EstimatedDollars", '"intake"'),
        ("AWS/ApiGateway", "5XXError", '{"Ref": "AWS::StackName"}'),
        (
            "AWS/SQS",
            "NumberOfMessagesReceived",
            '{"Fn::GetAtt": ["DeadLettersQueue", "QueueName"]}',
        ),
        (
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            '{"Fn::GetAtt": ["IntakeQueue", "QueueName"]}',
        ),
        (
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            '{"Fn::GetAtt": ["EncodeQueue", "QueueName"]}',
        ),
    }
    spend = template["SpendAlarm"]["Properties"]
    assert (spend["Threshold"], spend["Period"], spend["Statistic"]) == (50, 86400, "Sum")
    # The dimension is what Powertools calls the function that counts.
    variables = template["Intake"]["Properties"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == "intake"
    # No run is no data, which a sweep that stopped has.
    assert template["SweepAlarm"]["Properties"]["TreatMissingData"] == "breaching"
    assert of_type(list(template.values()), "AWS::SNS::Subscription") == []
    dashboard = json.dumps(template["Dashboard"]["Properties"])
    for name in (*(function.name for function in FUNCTIONS), *QUEUES):
        assert f"AWS::StackName}}-{name.replace('_', '-')}" in dashboard
    groups = [r for r in template.values() if r["Type"] == "AWS::Logs::LogGroup"]
    assert len(groups) == len(FUNCTIONS)
    assert {group["Properties"]["RetentionInDays"] for group in groups} == {30}


def test_it_costs_three_dollars_while_nothing_happens(template: Any) -> None:
    """As docs/operations.md has it, at AWS's prices of us-east-1; a month has 730 hours."""
    prices, runs = Prices(), 730 * 60
    # AWS documents five pollers where there is a limit, and else two as long as a queue is empty.
    pollers = sum(
        5 if "ScalingConfig" in source_of(template, function.name)[1] else 2
        for function in FUNCTIONS
        if function.queue
    )
    polled = pollers * 730 * 3600 / 20 * prices.sqs_million_requests / 1e6
    resources = list(template.values())
    alarms = 0.10 * len(of_type(resources, "AWS::CloudWatch::Alarm"))
    secrets = 0.40 * len(of_type(resources, "AWS::SecretsManager::Secret"))
    gigabytes = template["Sweep"]["Properties"]["MemorySize"] / 1024
    sweeps = runs * (
        0.2 * gigabytes * prices.lambda_gb_second_arm64
        + prices.lambda_million_requests / 1e6
        + 16 * 0.5 * prices.dynamodb_million_reads / 1e6
        + 450 / 1024**3 * 0.50
    )
    assert of_type(resources, "AWS::KMS::Key") == []
    total = polled + alarms + secrets + sweeps
    assert total <= 3.10
    assert f"| **sum** | | | **{total:.2f}** |" in (ROOT / "docs" / "operations.md").read_text()


@dataclass
class Config:
    """What Chalice would say of a stage with these variables."""

    environment_variables: dict[str, str]
    chalice_stage: str = "prod"
    lambda_architecture: str = "x86_64"
    lambda_timeout: int = 60
    lambda_memory_size: int = 1024

    def scope(self, chalice_stage: str, function_name: str) -> Config:
        return self


def test_a_stage_chooses_of_its_stack() -> None:
    chosen = {
        "SLUICE_OUTPUT_DAYS": "9",
        "SLUICE_ORIGINAL_DAYS": "10",
        "SLUICE_CONCURRENCY_ENCODE": "7",
        "SLUICE_CONCURRENCY_PACKAGE": "8",
        "SLUICE_HLS_RATE_LIMIT": "70",
        "SLUICE_HLS_BURST_LIMIT": "80",
        "SLUICE_ALARM_EMAIL": "ops@example.com",
        "SLUICE_ALARM_DAY_USD": "7",
        "SLUICE_CONCURRENCY_ESTIMATE": "3",
        "SLUICE_AUTH": "iam",
        "SLUICE_PRICES_OF": "2027-01-01",
        "SLUICE_PRICE_S3_GB_MONTH": "0.03",
    }
    resources: Any = merge_template(Config(chosen))["Resources"]
    assert expiring(resources, "OutputBucket") == {"work/": 14, "outputs/": 9}
    assert expiring(resources, "UploadBucket") == {"": 10}
    for function, most in (("Encode", 7), ("Package", 8)):
        (event,) = resources[function]["Properties"]["Events"].values()
        assert event["Properties"]["ScalingConfig"] == {"MaximumConcurrency": most}
    _, viewers, *_ = resources["RestAPI"]["Properties"]["MethodSettings"]
    assert (viewers["ThrottlingRateLimit"], viewers["ThrottlingBurstLimit"]) == (70, 80)
    assert resources["SpendAlarm"]["Properties"]["Threshold"] == 7
    assert resources["Estimate"]["Properties"]["ReservedConcurrentExecutions"] == 3
    assert resources["AlarmEmail"]["Properties"] == {
        "TopicArn": {"Ref": "Alarms"},
        "Protocol": "email",
        "Endpoint": "ops@example.com",
    }


def expiring(resources: Any, bucket: str) -> dict[str, int]:
    """After how many days what is deleted, by prefix."""
    rules = resources[bucket]["Properties"]["LifecycleConfiguration"]["Rules"]
    return {
        rule.get("Prefix", ""): rule["ExpirationInDays"]
        for rule in rules
        if "ExpirationInDays" in rule
    }


def test_what_people_stored_does_not_expire_unless_a_stage_says_so(template: Any) -> None:
    assert expiring(template, "UploadBucket") == {}
    assert expiring(template, "OutputBucket") == {"work/": 14}


@pytest.mark.parametrize(("seconds", "days"), [("86400", 1), ("86401", 2)])
def test_parts_are_removed_when_their_upload_may_not_go_on(seconds: str, days: int) -> None:
    chosen = {"SLUICE_AUTH": "iam", "SLUICE_MULTIPART_UPLOAD_SECONDS": seconds}
    resources: Any = merge_template(Config(chosen))["Resources"]
    (rule,) = resources["UploadBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": days}


def test_a_key_has_a_monthly_quota_only_where_a_stage_says_so() -> None:
    chosen = {"SLUICE_AUTH": "api_key", "SLUICE_MONTHLY_QUOTA": "5"}
    resources: Any = merge_template(Config(chosen))["Resources"]
    assert resources["UsagePlan"]["Properties"]["Quota"] == {"Limit": 5, "Period": "MONTH"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_OUTPUT_DAY", "9"),
        ("SLUICE_OUTPUT_DAYS", "soon"),
        ("SLUICE_ORIGINAL_DAYS", "9"),  # a job may wait for five days, and work for five
        ("SLUICE_MONTHLY_QUOTA", "0"),
        ("SLUICE_HLS_RATE_LIMIT", "0"),
        ("SLUICE_ALARM_EMAIL", "ops"),
        ("SLUICE_WATERMARK_SCALE", "2"),
        ("SLUICE_PRICE_S3_GB_MONTH", "cheap"),
        ("SLUICE_PRICE_S3_GB_YEAR", "1"),
        ("SLUICE_PRICES_OF", "yesterday"),
        ("SLUICE_CONCURRENCY_ENCODE", "1"),
        ("SLUICE_CONCURRENCY_ESTIMATE", "few"),
        ("SLUICE_ALARM_DAY_USD", "0"),
        ("SLUICE_MAX_JOB_USD", "0"),
        ("SLUICE_MAX_OWNER_DAY_USD", "much"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        merge_template(Config({name: value}))


@pytest.mark.parametrize("page", ["README.md", "docs/limits.md", "docs/operations.md"])
def test_the_settings_that_a_page_names_are_there(page: str) -> None:
    named = set(re.findall(r"`(SLUICE_[A-Z0-9_]+)`", (ROOT / page).read_text()))
    assert named
    for name in named - {sizing.CONCURRENCY_SETTING, sizing.MEMORY_SETTING}:
        try:
            merge_template(Config({name: "?"}))
        except InvalidSetting as error:
            assert "There is no setting" not in str(error)


# ── what is in the zips ─────────────────────────────────────────────────────────────────────────


def unpacked_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as zipped:
        return sum(entry.file_size for entry in zipped.infolist())


def test_functions_fit_into_lambda(package: Path) -> None:
    code = unpacked_bytes(package / "deployment.zip")
    assert code < 70 * MB
    for layer in ("ffmpeg", "pyav"):
        assert code + unpacked_bytes(package / f"{layer}.zip") < 250 * MB


def test_native_libraries_are_of_the_right_machine_and_from_manylinux_wheels(package: Path) -> None:
    architecture = package.name.split("-")[1]
    platform = {"x86_64": "x86_64", "arm64": "aarch64"}[architecture]
    with zipfile.ZipFile(package / "deployment.zip") as code:
        names = code.namelist()
        libraries = [name for name in names if ".so" in Path(name).suffixes or name.endswith(".so")]
        assert libraries
        for name in libraries:
            head = code.read(name)[:20]
            assert int.from_bytes(head[18:20], "little") == ELF_MACHINES[architecture], name
            assert "cpython-313" in name or "abi3" in name or ".libs/" in name, name
        for name in names:
            if name.endswith(".dist-info/WHEEL"):
                text = code.read(name).decode()
                tags = [line for line in text.splitlines() if line.startswith("Tag:")]
                assert tags, name
                pure = "Root-Is-Purelib: true" in text
                assert pure or all("manylinux" in t and platform in t for t in tags), name
        assert not [n for n in names if n.startswith(("tests/", "infra/", "sluice/"))]
        assert "chalicelib/assets/watermark.png" in names


def test_modules_are_compiled_for_the_runtime(package: Path) -> None:
    with zipfile.ZipFile(package / "deployment.zip") as code:
        names = set(code.namelist())
        for module in ("boto3/session", "pynamodb/models", "chalicelib/store/jobs"):
            folder, _, name = module.rpartition("/")
            compiled = f"{folder}/__pycache__/{name}.cpython-313.pyc"
            assert compiled in names
            # PEP 552: the magic number of this Python, then the flag of an unchecked hash.
            assert code.read(compiled)[:8] == importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
            assert f"/var/task/{module}.py".encode() in code.read(compiled)


def test_botocore_describes_what_the_functions_call_and_nothing_else(package: Path) -> None:
    with zipfile.ZipFile(package / "deployment.zip") as code:
        described = {
            Path(name).parts[2]
            for name in code.namelist()
            if name.startswith("botocore/data/") and len(Path(name).parts) > 3
        }
    assert described == set(SERVICES)


@pytest.mark.slow
@pytest.mark.parametrize("function", BY_NAME)
def test_a_function_starts_with_what_is_packaged_for_it_and_traced_as_on_aws(function: str) -> None:
    chosen = BY_NAME[function]
    for modules in (imports.modules_of(chosen), imports.decoders_of(chosen)):
        assert float(imports.in_function(imports.unpacked(), chosen, imports.TIMED, modules))


def test_the_api_loads_nothing_that_looks_into_files_and_cannot() -> None:
    names = (
        "engines.pillow",
        "engines.sandbox",
        "jobs.intake",
        "jobs.estimating",
        "probing.frame_index",
        "probing.video",
        "tasks.estimates",
    )
    looking = ["av", "numpy", "PIL", *(f"chalicelib.{name}" for name in names)]
    script = (
        "import app, chalicelib.api.openapi, sys;"
        "print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    in_api = partial(imports.in_function, imports.unpacked(), BY_NAME["api"])
    assert in_api(script, looking) == "[]\n"
    absent = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
    assert in_api(absent, ["av", "numpy"]) == "[]\n"
