"""Rows of any kind, read by their keys."""

from __future__ import annotations

from collections.abc import Sequence

from pynamodb.exceptions import DoesNotExist, PynamoDBException

from chalicelib.model.job import Item
from chalicelib.store.table import Row
from chalicelib.telemetry import logger


def read_many(keys: Sequence[tuple[str, str]], *, consistent: bool = False) -> list[Item]:
    """The rows with these keys that are there, in any order, by as few requests as DynamoDB allows.

    Where one of them cannot be read, each is read by a request of its own.
    """
    try:
        return [_item(row) for row in Row.batch_get(keys, consistent_read=consistent)]
    except PynamoDBException:
        raise
    except Exception:
        return [item for key in keys if (item := _read(key))]


def _read(key: tuple[str, str]) -> Item | None:
    try:
        return _item(Row.get(*key, consistent_read=True))
    except DoesNotExist:
        return None
    except PynamoDBException:
        raise
    except Exception as error:
        logger.warning("A row cannot be read", row=" ".join(key), error=str(error))
        return Item(key, error=error)


def _item(row: Row) -> Item:
    return Item((row.pk, row.sk), row.due_at, row.value())
