"""Dead letters that no version could read: listed, and sent again once a version is there that can.

One that names a job needs no operator: `chalicelib/jobs/dead_letters.py` has the sweep look at that.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from infra.deploying.account import Account
from infra.deploying.cloudformation import find_stack, outputs_of, stack_name
from infra.deploying.errors import DeployError

_FOLDER = "work/dead_letters/"
_SHOWN = 200  # characters of a message


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was put aside, with its beginning."""

    key: str
    since: datetime
    message: str


class DeadLetters:
    """The dead letters of a stage. Raises DeployError where there is no stack of it."""

    def __init__(self, stage: str, account: Account) -> None:
        name = stack_name(stage)
        stack = find_stack(account.cloudformation(), name)
        if stack is None:
            raise DeployError(f"There is no stack {name}: nothing can be dead there.")
        outputs = outputs_of(stack)
        self._s3 = account.s3()
        self._sqs = account.session().client("sqs", endpoint_url=account.endpoint_url)
        self._bucket = outputs["OutputBucket"]
        self._queue = f"{name}-dead-letters"

    def listed(self) -> list[DeadLetter]:
        """All that were put aside, the oldest first."""
        pages = self._s3.get_paginator("list_objects_v2")
        items = [
            item
            for page in pages.paginate(Bucket=self._bucket, Prefix=_FOLDER)
            for item in page.get("Contents", ())
        ]
        items.sort(key=lambda item: item["LastModified"])
        return [
            DeadLetter(item["Key"], item["LastModified"], self._body(item["Key"])[:_SHOWN])
            for item in items
        ]

    def redrive(self) -> int:
        """Send each to the function that looks after dead letters, then delete it; how many.

        One that is sent twice, as this was killed between the two, harms nothing.
        """
        url = self._sqs.get_queue_url(QueueName=self._queue)["QueueUrl"]
        letters = self.listed()
        for letter in letters:
            self._sqs.send_message(QueueUrl=url, MessageBody=self._body(letter.key))
            self._s3.delete_object(Bucket=self._bucket, Key=letter.key)
        return len(letters)

    def _body(self, key: str) -> str:
        return self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read().decode()
