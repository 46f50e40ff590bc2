"""API Gateway, beyond what Chalice says of it: its own refusals, throttling, API keys."""

from __future__ import annotations

import json
from typing import NamedTuple

from infra.stack.catalogue import Json, ref, sub
from infra.stack.targets import Target


class Limits(NamedTuple):
    """Requests a second, the burst above them, and a key's requests a month; see docs/limits.md."""

    rate: int
    burst: int
    # Of HLS files alone, so that viewers do not keep clients from uploading.
    hls_rate: int
    hls_burst: int
    monthly_quota: int | None


# Path and methods of HLS files; a test compares them with app.py's routes.
HLS_PATH = "/jobs/{job_id}/hls/{token}/{name}"
HLS_METHODS = ("GET", "HEAD")


class Refusal(NamedTuple):
    status: int
    code: str
    title: str
    detail: str


UNSIGNED = Refusal(
    403,
    "forbidden",
    "Forbidden",
    "Nothing is at this path, or the request is not signed with AWS Signature Version 4.",
)

# By API Gateway's response types. Types that are not listed fall to the two defaults.
REFUSALS = {
    "DEFAULT_4XX": Refusal(
        400, "bad_request", "Bad request", "The request could not be understood."
    ),
    "DEFAULT_5XX": Refusal(
        500, "internal_error", "Internal error", "Something went wrong here; try again."
    ),
    "RESOURCE_NOT_FOUND": Refusal(404, "not_found", "Not found", "There is nothing at this path."),
    # API Gateway's name for an unknown path, and for a method that a path does not have.
    "MISSING_AUTHENTICATION_TOKEN": Refusal(
        404, "not_found", "Not found", "There is nothing at this path, or not for this method."
    ),
    "UNAUTHORIZED": Refusal(
        401, "unauthorized", "Unauthorized", "The request does not say who sends it."
    ),
    "INVALID_API_KEY": Refusal(
        403, "invalid_api_key", "Forbidden", "The header x-api-key is missing, or names no key."
    ),
    "ACCESS_DENIED": Refusal(403, "access_denied", "Forbidden", "The sender may not do this."),
    "AUTHORIZER_FAILURE": Refusal(
        500, "internal_error", "Internal error", "The sender could not be checked; try again."
    ),
    "AUTHORIZER_CONFIGURATION_ERROR": Refusal(
        500, "internal_error", "Internal error", "The sender could not be checked."
    ),
    "INVALID_SIGNATURE": Refusal(
        403, "invalid_signature", "Forbidden", "The request's signature is not right."
    ),
    "EXPIRED_TOKEN": Refusal(
        403, "expired_token", "Forbidden", "The credentials of the request have expired."
    ),
    "INTEGRATION_FAILURE": Refusal(
        504, "unavailable", "Gateway timeout", "The API's function could not be called; try again."
    ),
    "INTEGRATION_TIMEOUT": Refusal(
        504, "timeout", "Gateway timeout", "The answer took too long; try again."
    ),
    "API_CONFIGURATION_ERROR": Refusal(
        500, "internal_error", "Internal error", "The API is not set up rightly."
    ),
    "UNSUPPORTED_MEDIA_TYPE": Refusal(
        415, "unsupported_media_type", "Unsupported media type", "This type cannot be read here."
    ),
    "BAD_REQUEST_PARAMETERS": Refusal(
        400, "bad_request", "Bad request", "The parameters could not be understood."
    ),
    "BAD_REQUEST_BODY": Refusal(
        400, "bad_request", "Bad request", "The body could not be understood."
    ),
    "REQUEST_TOO_LARGE": Refusal(
        413,
        "too_large",
        "Content too large",
        "The request is too large; upload to the URL of /uploads/presign instead.",
    ),
    "THROTTLED": Refusal(
        429, "throttled", "Too many requests", "Too many requests; try again in a moment."
    ),
    "QUOTA_EXCEEDED": Refusal(
        429, "quota_exceeded", "Too many requests", "This key has used up its month's requests."
    ),
    "WAF_FILTERED": Refusal(403, "filtered", "Forbidden", "A firewall rule refused the request."),
}


def rest_api(auth: str, limits: Limits, target: Target) -> Json:
    """The API's properties, and the first key where `auth` is api_key."""
    properties: Json = {
        "Name": ref("AWS::StackName"),
        "OpenApiVersion": "2.0",  # else SAM adds a stage named "Stage" that has no limits
        "EndpointConfiguration": "REGIONAL",
        "BinaryMediaTypes": ["multipart/form-data"],
        # Bytes. Apple's HLS Authoring Specification (10.1) asks for gzip'ed playlists.
        "MinimumCompressionSize": 1000,
        "GatewayResponses": _responses(auth),
        # No tracing and no access log: both would record the paths of HLS files, which hold tokens.
        "MethodSettings": [
            _throttled("*", "/*", limits.rate, limits.burst),
            # API Gateway escapes slashes in a path as JSON Pointer does.
            *(
                _throttled(
                    method, f"/{HLS_PATH.replace('/', '~1')}", limits.hls_rate, limits.hls_burst
                )
                for method in HLS_METHODS
            ),
        ],
        # API Gateway takes the title as the API's name, which is a dimension of its metrics.
        "DefinitionBody": {"info": {"title": sub("${AWS::StackName}")}},
    }
    if target.api_id:
        tags = dict.fromkeys(target.api_id_tags, target.api_id)
        properties |= {"Tags": tags, "PropagateTags": True}
    resources: Json = {"RestAPI": {"Properties": properties}}
    if auth == "api_key":
        resources |= _api_key(limits)
    return resources


def _throttled(method: str, path: str, rate: int, burst: int) -> Json:
    """Without detailed metrics: they cost money, and the metrics of the whole API are free."""
    return {
        "HttpMethod": method,
        "ResourcePath": path,
        "ThrottlingRateLimit": rate,
        "ThrottlingBurstLimit": burst,
    }


def _responses(auth: str) -> Json:
    # With IAM, API Gateway gives unsigned requests the type of unknown paths.
    refusals = REFUSALS | ({"MISSING_AUTHENTICATION_TOKEN": UNSIGNED} if auth == "iam" else {})
    return {
        kind: {
            # AWS documents that any status set here counts as 4XXError. Failures on our side keep API
            # Gateway's own status, so that the alarm on 5XXError sees them.
            **({"StatusCode": str(refusal.status)} if refusal.status < 500 else {}),
            "ResponseParameters": {
                "Headers": {
                    "Content-Type": "'application/problem+json'",
                    "Access-Control-Allow-Origin": "'*'",
                    "Access-Control-Expose-Headers": "'*'",
                }
            },
            "ResponseTemplates": {"application/json": _problem(kind, refusal)},
        }
        for kind, refusal in refusals.items()
    }


def _problem(kind: str, refusal: Refusal) -> str:
    return json.dumps(
        {
            "type": "about:blank",
            "title": refusal.title,
            # API Gateway chooses the status of a function's failure: 500, 502 or 504.
            **({} if kind == "DEFAULT_5XX" else {"status": refusal.status}),
            "detail": refusal.detail,
            "code": refusal.code,
            "request_id": "$context.requestId",
        }
    )


def _api_key(limits: Limits) -> Json:
    quota = limits.monthly_quota
    return {
        "ApiKey": {
            "Type": "AWS::ApiGateway::ApiKey",
            "Properties": {"Description": "The first key of this stage", "Enabled": True},
        },
        "UsagePlan": {
            "Type": "AWS::ApiGateway::UsagePlan",
            # SAM's logical id of the stage. LocalStack does not resolve RestAPI.Stage.
            "DependsOn": "RestAPIapiStage",
            "Properties": {
                "ApiStages": [{"ApiId": ref("RestAPI"), "Stage": "api"}],
                "Throttle": {"RateLimit": limits.rate, "BurstLimit": limits.burst},
                **({"Quota": {"Limit": quota, "Period": "MONTH"}} if quota else {}),
            },
        },
        "UsagePlanKey": {
            "Type": "AWS::ApiGateway::UsagePlanKey",
            "Properties": {
                "KeyId": ref("ApiKey"),
                "KeyType": "API_KEY",
                "UsagePlanId": ref("UsagePlan"),
            },
        },
    }
