"""Properties of the template that MiniStack silently drops, set by calls instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.deploying.account import Account
from infra.stack.targets import EMULATOR


def fill_gaps(template: Path, account: Account, outputs: Mapping[str, str]) -> None:
    """Set the table's TTL, the buckets' lifecycles and the gateway's responses.

    `template` is the packaged one, `outputs` are those of the stack.
    """
    resources = json.loads(template.read_text())["Resources"]
    session = account.session()
    table = resources["JobsTable"]["Properties"]
    session.client("dynamodb", endpoint_url=account.endpoint_url).update_time_to_live(
        TableName=outputs["JobsTable"], TimeToLiveSpecification=table["TimeToLiveSpecification"]
    )
    s3 = account.s3()
    for bucket in ("UploadBucket", "OutputBucket"):
        rules: Any = [
            _rule(rule)
            for rule in resources[bucket]["Properties"]["LifecycleConfiguration"]["Rules"]
        ]
        s3.put_bucket_lifecycle_configuration(
            Bucket=outputs[bucket], LifecycleConfiguration={"Rules": rules}
        )
    gateway: Any = session.client("apigateway", endpoint_url=account.endpoint_url)
    api = resources["RestAPI"]["Properties"]
    for kind, response in api["GatewayResponses"].items():
        gateway.put_gateway_response(
            restApiId=EMULATOR.api_id,
            responseType=kind,
            **({"statusCode": response["StatusCode"]} if "StatusCode" in response else {}),
            responseParameters={
                f"gatewayresponse.header.{name}": value
                for name, value in response["ResponseParameters"]["Headers"].items()
            },
            responseTemplates=response["ResponseTemplates"],
        )
    gateway.create_deployment(restApiId=EMULATOR.api_id, stageName=api["StageName"])


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Translate a lifecycle rule from CloudFormation's form to that of the S3 API."""
    translated: dict[str, Any] = {
        "ID": rule["Id"],
        "Status": rule["Status"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
    }
    if "ExpirationInDays" in rule:
        translated["Expiration"] = {"Days": rule["ExpirationInDays"]}
    if "AbortIncompleteMultipartUpload" in rule:
        translated["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
    return translated
