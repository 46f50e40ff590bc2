"""SQS and Lambda's pollers: messages are delivered at least once, in any order, and start functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from testing.chaos import stack
from testing.chaos.world import Worker, World

Json = dict[str, Any]
# The probability that an outdated receipt handle still deletes its message.
_STALE_DELETES = 0.5


class Message:
    """A message in a queue."""

    def __init__(self, number: int, body: str, now: float, visible: float) -> None:
        self.id = f"message-{number}"
        self.body = body
        self.sent = now
        self.visible = visible
        self.receives = 0
        self.receipt = ""
        self.gone = False


class Sqs:
    """Every queue of the stack; `invoke` starts a function with an event."""

    def __init__(
        self, world: World, invoke: Callable[[str, Json, Callable[[Worker], None]], None]
    ) -> None:
        self._world = world
        self._invoke = invoke
        self._sent = 0
        self.batches_are_full = False  # whether batches are as large as the waiting messages allow
        self.queues = stack.queues()
        self.messages: dict[str, list[Message]] = {name: [] for name in self.queues}

    def answer(self, operation: str, body: Json) -> Json:
        """SQS's answer to a worker."""
        queue = stack.name_of(body["QueueUrl"])
        match operation:
            case "SendMessage":
                self.send(queue, body["MessageBody"], body.get("DelaySeconds", 0))
                return _taken(body["MessageBody"])
            case "SendMessageBatch":
                return self._send_batch(queue, body["Entries"])
            case "ChangeMessageVisibility":
                self._hide(queue, body["ReceiptHandle"], body["VisibilityTimeout"])
                return {}
            case "DeleteMessage":
                for message in self.messages[queue]:
                    if message.receipt == body["ReceiptHandle"]:
                        message.gone = True
                return {}
        raise NotImplementedError(operation)

    def _send_batch(self, queue: str, entries: list[Json]) -> Json:
        world = self._world
        failed = []
        if world.happens(world.faults.batch_partly_refused, f"a part of a batch to {queue}"):
            failed = world.random.sample(entries, world.random.randint(1, len(entries)))
        taken = [entry for entry in entries if entry not in failed]
        for entry in taken:
            self.send(queue, entry["MessageBody"], entry.get("DelaySeconds", 0))
        return {
            "Successful": [{"Id": e["Id"], **_taken(e["MessageBody"])} for e in taken],
            "Failed": [
                {"Id": e["Id"], "SenderFault": False, "Code": "InternalError"} for e in failed
            ],
        }

    def send(self, queue: str, body: str, delay: float = 0.0) -> None:
        """Accept a message; it may be lost, delivered twice, or late."""
        world = self._world
        self._sent += 1
        if self._sent in world.faults.lose or world.happens(
            world.faults.message_lost, f"lost, to {queue}: {body[:90]}"
        ):
            world.note("LOST message", self._sent, queue, body[:90])
            return
        if world.happens(world.faults.message_late, f"late, to {queue}"):
            delay += world.random.choice((1.0, 20.0, 200.0, 900.0))
        copies = 2 if world.happens(world.faults.message_doubled, f"twice, to {queue}") else 1
        world.note("sent", self._sent, queue, body[:90])
        for _ in range(copies):
            self._offer(queue, Message(world.number(), body, world.now, world.now + delay))

    def event(self, body: str) -> None:
        """Accept S3's event of an object, which is delivered at least once unless it is lost."""
        world = self._world
        if world.happens(world.faults.event_lost, "S3's event is lost"):
            return
        times = 2 if world.happens(world.faults.event_doubled, "S3's event comes twice") else 1
        for _ in range(times):
            late = world.random.choice((0.05, 0.3, 2.0))
            self._offer("intake", Message(world.number(), body, world.now, world.now + late))

    @property
    def sent_messages(self) -> int:
        return self._sent

    def left(self) -> list[str]:
        """Messages that were not acknowledged."""
        return [
            f"{queue}: {message.body[:90]}"
            for queue, messages in self.messages.items()
            for message in messages
            if not message.gone and self.queues[queue].function is not None
        ]

    def _offer(self, queue: str, message: Message) -> None:
        self.messages[queue].append(message)
        self._poll_at(queue, message.visible)

    def _poll_at(self, queue: str, when: float) -> None:
        waits = self._world.random.uniform(0.025, 0.06)  # seconds from visible to running
        self._world.at(when - self._world.now + waits, lambda: self._poll(queue))

    def _hide(self, queue: str, receipt: str, seconds: float) -> None:
        for message in self.messages[queue]:
            if message.receipt == receipt and not message.gone:
                message.visible = self._world.now + seconds
                self._poll_at(queue, message.visible)

    def _poll(self, name: str) -> None:
        world, queue = self._world, self.queues[name]
        if queue.function is None:
            return
        closed = world.faults.backlogs.get(name, 0.0) - world.elapsed
        if closed > 0:
            self._poll_at(name, world.now + closed)
            return
        least = queue.batch_size if self.batches_are_full else 1
        received = self._receive(queue, world.random.randint(least, queue.batch_size))
        if not received:
            return
        if world.happens(world.faults.received_in_vain, f"no worker free for {name}"):
            return
        receipts = {message.id: message.receipt for message in received}

        def ended(worker: Worker) -> None:
            if worker.dead:
                return
            if worker.error is not None:
                world.note(name, "raised", repr(worker.error)[:200])
                return
            failed = {item["itemIdentifier"] for item in worker.result["batchItemFailures"]}
            for message in received:
                is_ours = message.receipt == receipts[message.id]
                if message.id not in failed and (is_ours or world.random.random() < _STALE_DELETES):
                    message.gone = True

        self._invoke(queue.function, _event(name, received), ended)

    def _receive(self, queue: stack.Queue, most: int) -> list[Message]:
        world = self._world
        messages = self.messages[queue.name]
        messages[:] = [
            message
            for message in messages
            if not message.gone and world.now - message.sent <= queue.retention_seconds
        ]
        visible = [message for message in messages if message.visible <= world.now]
        world.random.shuffle(visible)
        received: list[Message] = []
        for message in visible:
            if queue.max_receives is not None and message.receives >= queue.max_receives:
                self._bury(queue, message)
            elif len(received) < most:
                received.append(message)
                self._hand_out(queue, message)
            else:
                self._poll_at(queue.name, world.now)
        return received

    def _hand_out(self, queue: stack.Queue, message: Message) -> None:
        world = self._world
        message.receives += 1
        message.receipt = f"{message.id}-{message.receives}"
        again = world.happens(world.faults.received_twice, f"received twice, of {queue.name}")
        message.visible = world.now + (0.0 if again else queue.visibility_seconds)
        self._poll_at(queue.name, message.visible)

    def _bury(self, queue: stack.Queue, message: Message) -> None:
        assert queue.dead is not None
        message.gone = True
        self._world.note("dead letter", queue.name, message.body[:90])
        dead = Message(self._world.number(), message.body, message.sent, self._world.now)
        dead.receives = message.receives
        self._offer(queue.dead, dead)


def _taken(body: str) -> Json:
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    return {"MessageId": "taken", "MD5OfMessageBody": digest}


def _event(queue: str, messages: list[Message]) -> Json:
    dashed = queue.replace("_", "-")
    return {
        "Records": [
            {
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": str(message.receives),
                    "SentTimestamp": str(int(message.sent * 1000)),
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:sluice-{dashed}",
                "awsRegion": "us-east-1",
            }
            for message in messages
        ]
    }
