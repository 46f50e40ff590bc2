"""Attributes of items that PynamoDB does not have."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec
from pynamodb.attributes import Attribute, MapAttribute
from pynamodb.constants import LIST, MAP

# Bytes of JSON above which a value is stored packed, to a tenth or less: an item has at most 400 KB, and a
# film in one chunk has thousands of segments.
_MOST_UNPACKED = 30_000


class MapOfAny(Attribute[dict[str, Any]]):
    """A map with any names: PynamoDB's own cannot hold one of the name `self`, and clients choose names."""

    attr_type = MAP

    def serialize(self, value: Any) -> Any:
        return MapAttribute().serialize(value)

    def deserialize(self, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = MapAttribute().deserialize(value)
        return found


class PipelineAttribute(Attribute[list[str | dict[str, Any]]]):
    """A list of texts: names of presets, and objects in JSON, whose numbers DynamoDB may have no room for."""

    attr_type = LIST

    def serialize(self, value: Any) -> Any:
        texts = (item if isinstance(item, str) else json.dumps(item) for item in value)
        return [{"S": text} for text in texts]

    def deserialize(self, value: Any) -> list[str | dict[str, Any]]:
        texts = (item["S"] for item in value)
        return [json.loads(text) if text.startswith("{") else text for text in texts]


def pack(value: object) -> bytes | None:
    """A large value as zlib of its JSON; None where it is small."""
    encoded = msgspec.json.encode(value)
    return zlib.compress(encoded) if len(encoded) > _MOST_UNPACKED else None


def unpack(packed: bytes, shape: Any) -> Any:
    return msgspec.json.decode(zlib.decompress(packed), type=shape)


def whole(number: float | None) -> int | None:
    """A number that was stored as an integer."""
    return None if number is None else int(number)
