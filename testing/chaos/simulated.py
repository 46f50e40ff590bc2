"""One context manager that replaces functions of this process by simulated ones while a world runs.

The product reads the time, sleeps, makes ids and uses threads by Python's own functions, and shall not know
of the simulation. Exactly these functions are replaced by the world's, and restored at the end.
"""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader
from botocore.retries.quota import RetryQuota
from botocore.useragent import UserAgentString

from chalicelib import settings
from chalicelib.engines import ffmpeg, sandbox
from chalicelib.store import clients, objects
from chalicelib.telemetry import metrics
from testing.chaos.boundary import boundary
from testing.chaos.media import Memo
from testing.chaos.world import World

# Caches of the product that are equal in all worlds, and need not be cleared.
_KEPT = (clients.s3, clients.sqs, settings.settings, settings.prices, settings.function_sizes)


@contextmanager
def inside(world: World, memo: Memo) -> Iterator[None]:
    """Run this process in the world: virtual time, ids by seed, requests that may fail, memoized encoders."""

    def sleep(seconds: float) -> None:
        world.pause(seconds)

    def new_id() -> uuid.UUID:
        return uuid.UUID(int=world.ids.getrandbits(128), version=4)

    def told(name: str, unit: object, value: float) -> None:
        world.metrics[name] += int(value)

    random.seed(world.random.random())  # AWS clients draw the pauses of their retries from it
    memo.world, boundary.world = world, world
    _forget()
    try:
        with ExitStack() as stack:

            def put(owner: Any, **named: Any) -> None:
                stack.enter_context(_in_place(owner, **named))

            put(time, time=world.clock, monotonic=lambda: world.now, sleep=sleep)
            put(uuid, uuid4=new_id)
            # Workers share this process, and threads would run outside of virtual time: run work at once.
            put(ThreadPoolExecutor, submit=_done_at_once)
            # Workers share botocore's quota of retries, which each Lambda process has for itself.
            put(RetryQuota, acquire=lambda *_: True)
            put(
                sandbox,
                call=memo.call,
                call_with_source=memo.call_with_source,
                start=lambda *_: None,
            )
            put(ffmpeg, run=memo.ffmpeg_run)
            # A schedule may change this value.
            put(objects.TRANSFER, multipart_threshold=objects.TRANSFER.multipart_threshold)
            put(metrics, add_metric=told, flush_metrics=lambda *_, **__: None)
            try:
                yield
            finally:
                world.end()
    finally:
        memo.world = boundary.world = None
        _forget()


def quicken_clients() -> None:
    """Cache files and constants that AWS clients compute repeatedly: a fifth of a schedule's time."""
    read = cache(JSONFileLoader().load_file)
    setattr(JSONFileLoader, "load_file", lambda _, path: read(path))  # noqa: B010
    setattr(UserAgentString, "to_string", lambda _: "chaos")  # noqa: B010


@contextmanager
def _in_place(owner: Any, **attributes: Any) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in attributes}
    for name, value in attributes.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _done_at_once(_: ThreadPoolExecutor, work: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    done: Future[Any] = Future()
    try:
        done.set_result(work(*args, **kw))
    except Exception as error:
        done.set_exception(error)
    return done


def _forget() -> None:
    """Clear the product's caches: the next world has another time."""
    for name, module in list(sys.modules.items()):
        if name.startswith("chalicelib"):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear") and value not in _KEPT:
                    value.cache_clear()
