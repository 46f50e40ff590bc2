"""The cloud of a schedule: DynamoDB and S3 in memory or by moto, and simulated queues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from botocore.awsrequest import AWSResponse

from testing.chaos.boundary import boundary, json_response, response
from testing.chaos.expressions import Item
from testing.chaos.fast_dynamodb import Dynamo, Refused, items_of
from testing.chaos.fast_s3 import S3, Stored
from testing.chaos.world import World


class Stand(Protocol):
    """The interface of a store of items and objects."""

    def begin(self, world: World) -> None:
        """Delete everything, for a new world."""
        ...

    def answer(self, service: str, operation: str, event_name: str, request: Any) -> AWSResponse:
        """The answer of DynamoDB, S3 or Secrets Manager."""
        ...

    def items(self) -> Iterator[Item]: ...
    def item(self, key: Item) -> Item | None: ...
    def object(self, bucket: str, key: str) -> Stored | None: ...
    def objects(self, bucket: str) -> dict[str, Stored]: ...


class Fast:
    """Items and objects in memory: about ten times as fast as moto."""

    def __init__(self) -> None:
        self.dynamo = Dynamo()
        self.s3 = S3()
        self._secrets: dict[str, str] = {}

    def begin(self, world: World) -> None:
        faults = world.faults

        def staleness() -> float:
            stale = world.happens(faults.index_stale, "an index is read that is not up to date")
            return world.random.choice((0.1, 1.0, 5.0)) if stale else 0.0

        def unprocessed(keys: int) -> int:
            some = keys > 1 and world.happens(faults.keys_unprocessed, "keys are not processed")
            return world.random.randint(1, keys - 1) if some else 0

        self.dynamo.begin(lambda: world.now, staleness, unprocessed)
        self.s3.objects.clear()
        self.s3.uploads.clear()

    def answer(self, service: str, operation: str, event_name: str, request: Any) -> AWSResponse:
        match service:
            case "dynamodb":
                try:
                    return json_response(
                        request, 200, self.dynamo.answer(operation, json.loads(request.body))
                    )
                except Refused as refused:
                    code = f"com.amazonaws.dynamodb.v20120810#{refused.code}"
                    told = {"__type": code, "message": refused.message, **refused.more}
                    return json_response(request, 400, told)
            case "s3":
                return response(request, *self.s3.answer(operation, request))
            case "secrets-manager":
                return self._secret(operation, request)
        raise NotImplementedError(event_name)

    def _secret(self, operation: str, request: Any) -> AWSResponse:
        body = json.loads(request.body)
        if operation == "CreateSecret":
            self._secrets[body["Name"]] = body["SecretString"]
            return json_response(request, 200, {"Name": body["Name"]})
        if body.get("VersionStage") == "AWSPREVIOUS":
            return json_response(
                request, 400, {"__type": "ResourceNotFoundException", "message": "-"}
            )
        secret = self._secrets[body["SecretId"]]
        return json_response(request, 200, {"Name": body["SecretId"], "SecretString": secret})

    def items(self) -> Iterator[Item]:
        return (item for _, item in items_of(self.dynamo))

    def item(self, key: Item) -> Item | None:
        tables = self.dynamo.tables.values()
        return next((found for t in tables if (found := t.items.get(t.key_of(key)))), None)

    def object(self, bucket: str, key: str) -> Stored | None:
        return self.s3.objects.get((bucket, key))

    def objects(self, bucket: str) -> dict[str, Stored]:
        return {key: stored for (of, key), stored in self.s3.objects.items() if of == bucket}


class Moto:
    """Items and objects by moto, for comparison. It answers only requests that come through here."""

    def __init__(self) -> None:
        from moto import mock_aws
        from moto.core.models import botocore_stubber

        self._stubber = botocore_stubber
        mock_aws().start()
        boundary.checks_signatures = True
        self._stubber.enabled = False

    def answer(self, service: str, operation: str, event_name: str, request: Any) -> AWSResponse:
        self._stubber.enabled = True
        try:
            answer = self._stubber(event_name, request)
            assert answer is not None
            return answer
        finally:
            self._stubber.enabled = False

    def begin(self, world: World) -> None:
        for table in self._tables().values():
            table.items.clear()
        for bucket in self._buckets().values():
            bucket.keys.clear()
            bucket.multiparts.clear()

    def items(self) -> Iterator[Item]:
        for table in self._tables().values():
            for ranged in table.items.values():
                for item in ranged.values():
                    yield item.to_json()["Attributes"]

    def item(self, key: Item) -> Item | None:
        return next(
            (item for item in self.items() if all(item[n] == v for n, v in key.items())), None
        )

    def object(self, bucket: str, key: str) -> Stored | None:
        return self.objects(bucket).get(key)

    def objects(self, bucket: str) -> dict[str, Stored]:
        keys = self._buckets()[bucket].keys
        return {
            key: Stored(keys[key].value, keys[key].etag.strip('"'), dict(keys[key].metadata))
            for key in list(keys)
        }

    def _tables(self) -> dict[str, Any]:
        from moto.dynamodb.models import dynamodb_backends

        return dict(dynamodb_backends["123456789012"]["us-east-1"].tables)

    def _buckets(self) -> dict[str, Any]:
        from moto.s3.models import s3_backends

        return dict(s3_backends["123456789012"]["aws"].buckets)


Queues = Callable[[str, dict[str, Any]], dict[str, Any]]
Functions = Callable[[str, dict[str, Any]], Any]


class Cloud:
    """The cloud of a world's workers: a stand for items and objects, and queues."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.queues: Queues = _no_queues
        self.functions: Functions = _no_functions
        self.on_change: Callable[[str, str, Any], None] = lambda *_: None

    def answer(self, event_name: str, request: Any) -> AWSResponse:
        _, service, operation = event_name.split(".")
        if service == "sqs":
            told = self.queues(operation, json.loads(request.body))
            return json_response(request, 200, told)
        if service == "lambda":
            function = request.url.split("/functions/")[1].split("/")[0].removeprefix("sluice-")
            return json_response(request, 200, self.functions(function, json.loads(request.body)))
        return self.stand.answer(service, operation, event_name, request)

    def changed(self, service: str, operation: str, request: Any) -> None:
        self.on_change(service, operation, request)


def _no_functions(function: str, _: dict[str, Any]) -> Any:
    raise NotImplementedError(function)


def _no_queues(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer CreateQueue while the stack is created; nothing else may be asked then."""
    assert operation == "CreateQueue", operation
    return {"QueueUrl": f"https://sqs.us-east-1.amazonaws.com/123456789012/{body['QueueName']}"}
