"""DynamoDB in memory, with the operations that Sluice uses. Any other request raises an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from testing.chaos import expressions
from testing.chaos.expressions import Item, Scope, Value, comparable

Json = dict[str, Any]
Key = tuple[str, ...]

_MOST_BYTES = 400 * 1024


class Refused(Exception):
    """An error answer: DynamoDB's code and the message."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.more = more


class _Index(NamedTuple):
    keys: tuple[str, ...]  # partition, sort
    projected: frozenset[str]


class Table:
    """One table. Its indexes are not stored, but computed from its items at each query."""

    def __init__(self, name: str, keys: tuple[str, ...], indexes: dict[str, _Index]) -> None:
        self.name = name
        self.keys = keys
        self.indexes = indexes
        self.items: dict[Key, Item] = {}
        self._replaced: list[tuple[float, Key, Item | None]] = []

    def key_of(self, item: Item) -> Key:
        return tuple(item[name]["S"] for name in self.keys)

    def put(self, item: Item, now: float) -> None:
        if len(json.dumps(item)) > _MOST_BYTES:
            raise Refused("ValidationException", "Item size has exceeded the maximum allowed size")
        key = self.key_of(item)
        self._replaced.append((now, key, self.items.get(key)))
        self.items[key] = item

    def remove(self, key: Key, now: float) -> None:
        self._replaced.append((now, key, self.items.pop(key, None)))

    def as_of(self, then: float) -> dict[Key, Item]:
        """The items at an earlier time."""
        found: dict[Key, Item | None] = dict(self.items)
        for when, key, before in reversed(self._replaced):
            if when <= then:
                break
            found[key] = before
        return {key: item for key, item in found.items() if item is not None}


class Dynamo:
    """Answers requests to DynamoDB."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self._now: Callable[[], float] = lambda: 0.0
        self._staleness: Callable[[], float] = lambda: 0.0
        self._unprocessed: Callable[[int], int] = lambda _: 0

    def begin(
        self,
        now: Callable[[], float],
        staleness: Callable[[], float],
        unprocessed: Callable[[int], int],
    ) -> None:
        """Delete all items.

        `staleness` returns the age in seconds of an index at a query. `unprocessed` returns how many of the
        keys of a BatchGetItem are left unprocessed.
        """
        self._now, self._staleness, self._unprocessed = now, staleness, unprocessed
        for name, table in self.tables.items():
            self.tables[name] = Table(table.name, table.keys, table.indexes)

    def answer(self, operation: str, body: Json) -> Json:
        """DynamoDB's answer. Raises Refused."""
        match operation:
            case "CreateTable":
                return self._create_table(body)
            case "GetItem":
                return self._get(body)
            case "PutItem":
                return self._put(body)
            case "UpdateItem":
                return self._update(body)
            case "TransactWriteItems":
                return self._transact(body)
            case "DeleteItem":
                return self._delete(body)
            case "BatchGetItem":
                return self._batch_get(body)
            case "BatchWriteItem":
                return self._batch_write(body)
            case "Query":
                return self._query(body)
        raise NotImplementedError(operation)

    def _create_table(self, body: Json) -> Json:
        keys = _attributes(body)
        indexes = {
            index["IndexName"]: _Index(
                _attributes(index),
                frozenset(
                    (*keys, *_attributes(index), *index["Projection"].get("NonKeyAttributes", ()))
                ),
            )
            for index in body.get("GlobalSecondaryIndexes", ())
        }
        self.tables[body["TableName"]] = Table(body["TableName"], keys, indexes)
        return {"TableDescription": {"TableName": body["TableName"], "TableStatus": "ACTIVE"}}

    def _get(self, body: Json) -> Json:
        table = self.tables[body["TableName"]]
        item = table.items.get(table.key_of(body["Key"]))
        answer: Json = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
        return answer if item is None else {**answer, "Item": _projected(item, body)}

    def _put(self, body: Json) -> Json:
        table = self.tables[body["TableName"]]
        self._check(table.items.get(table.key_of(body["Item"])), body)
        table.put(body["Item"], self._now())
        return {"ConsumedCapacity": {"CapacityUnits": 1.0}}

    def _update(self, body: Json) -> Json:
        table = self.tables[body["TableName"]]
        before = table.items.get(table.key_of(body["Key"]))
        self._check(before, body)
        item = deepcopy(before) if before is not None else dict(body["Key"])
        scope = _scope(before or body["Key"], body)
        try:
            for change in expressions.update(body["UpdateExpression"]):
                change(scope, item)
        except expressions.Invalid as error:
            raise Refused("ValidationException", str(error)) from error
        table.put(item, self._now())
        answer: Json = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
        return {**answer, "Attributes": item} if body.get("ReturnValues") == "ALL_NEW" else answer

    def _transact(self, body: Json) -> Json:
        """Update all items, or none if the condition of one does not hold. Raises Refused."""
        updates = [item["Update"] for item in body["TransactItems"]]
        reasons = []
        for action in updates:
            table = self.tables[action["TableName"]]
            before = table.items.get(table.key_of(action["Key"]))
            try:
                self._check(before, action)
            except Refused:
                told = action.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and before
                item = {"Item": before} if told else {}
                reasons.append({"Code": "ConditionalCheckFailed", "Message": "-", **item})
            else:
                reasons.append({"Code": "None"})
        if any(reason["Code"] != "None" for reason in reasons):
            message = (
                "Transaction cancelled, please refer cancellation reasons for specific reasons"
            )
            raise Refused("TransactionCanceledException", message, CancellationReasons=reasons)
        for action in updates:
            self._update(action)
        return {"ConsumedCapacity": [{"CapacityUnits": 2.0 * len(updates)}]}

    def _delete(self, body: Json) -> Json:
        table = self.tables[body["TableName"]]
        key = table.key_of(body["Key"])
        self._check(table.items.get(key), body)
        table.remove(key, self._now())
        return {"ConsumedCapacity": {"CapacityUnits": 1.0}}

    def _batch_get(self, body: Json) -> Json:
        found, left = {}, {}
        for name, asked in body["RequestItems"].items():
            table = self.tables[name]
            keys = asked["Keys"]
            processed = len(keys) - self._unprocessed(len(keys))
            items = (table.items.get(table.key_of(key)) for key in keys[:processed])
            found[name] = [
                _projected(item, {**asked, "TableName": name}) for item in items if item is not None
            ]
            if processed < len(keys):
                left[name] = {**asked, "Keys": keys[processed:]}
        capacity = [{"CapacityUnits": 1.0}]
        return {"Responses": found, "UnprocessedKeys": left, "ConsumedCapacity": capacity}

    def _batch_write(self, body: Json) -> Json:
        for name, requests in body["RequestItems"].items():
            for request in requests:
                self._delete({"TableName": name, **request["DeleteRequest"]})
        return {"UnprocessedItems": {}, "ConsumedCapacity": [{"CapacityUnits": 1.0}]}

    def _query(self, body: Json) -> Json:
        table = self.tables[body["TableName"]]
        index = table.indexes[body["IndexName"]] if "IndexName" in body else None
        keys = index.keys if index else table.keys
        age = self._staleness() if index else 0.0
        items = table.as_of(self._now() - age) if age else table.items
        holds = expressions.condition(body["KeyConditionExpression"])
        found = sorted(
            (
                item
                for item in items.values()
                if all(name in item for name in keys) and holds(_scope(item, body))
            ),
            key=lambda item: _position(item, keys, table),
            reverse=not body.get("ScanIndexForward", True),
        )
        found = _after(found, body.get("ExclusiveStartKey"))
        answer: Json = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
        if "Limit" in body and len(found) > body["Limit"]:
            found = found[: body["Limit"]]
            names = dict.fromkeys((*table.keys, *keys))
            answer["LastEvaluatedKey"] = {name: found[-1][name] for name in names}
        if index:
            found = [
                {name: value for name, value in item.items() if name in index.projected}
                for item in found
            ]
        shown = [_projected(item, body) for item in found]
        return {**answer, "Items": shown, "Count": len(shown), "ScannedCount": len(shown)}

    def _check(self, item: Item | None, body: Json) -> None:
        """Check the condition of a write. Raises Refused if it does not hold."""
        text = body.get("ConditionExpression")
        if text and not expressions.condition(text)(_scope(item or {}, body)):
            raise Refused("ConditionalCheckFailedException", "The conditional request failed")


def items_of(dynamo: Dynamo) -> Iterator[tuple[Table, Item]]:
    """Every item of every table."""
    for table in dynamo.tables.values():
        for item in table.items.values():
            yield table, item


def _attributes(described: Json) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in described["KeySchema"])


def _scope(item: Item, body: Json) -> Scope:
    return Scope(
        item,
        body.get("ExpressionAttributeNames", {}),
        body.get("ExpressionAttributeValues", {}),
    )


def _projected(item: Item, body: Json) -> Item:
    text = body.get("ProjectionExpression")
    if not text:
        return item
    wanted = expressions.names(text, body.get("ExpressionAttributeNames", {}))
    return {name: item[name] for name in wanted if name in item}


def _position(item: Item, keys: tuple[str, ...], table: Table) -> tuple[Any, ...]:
    return (*(comparable(item[name]) for name in keys[1:]), *table.key_of(item))


def _after(items: list[Item], start: dict[str, Value] | None) -> list[Item]:
    if start is None:
        return items
    places = [n for n, item in enumerate(items) if all(item[k] == v for k, v in start.items())]
    return items[places[0] + 1 :] if places else items
