"""The jobs of a storm. Each writes to the log when its code starts and when it ends, and none does any harm."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

import mainspring
from mainspring.job import State
from tests.torture import events, offers


class Planned(Exception):
    """What a flaky job raises."""


class Due(NamedTuple):
    """What a job must come to in the end, however often it was cut off on the way."""

    state: State
    attempts: int
    result: str | None


@mainspring.task(takes_context=True)
def short(context, number):
    with logged(context):
        return number * 2


@mainspring.task(takes_context=True)
async def async_short(context, number):
    with logged(context):
        return number * 2


@mainspring.task(takes_context=True)
def lasting(context, number, seconds):
    with logged(context):
        threading.Event().wait(seconds)
        return number * 2


@mainspring.task(takes_context=True)
async def async_lasting(context, number, seconds):
    with logged(context):
        await asyncio.sleep(seconds)
        return number * 2


@mainspring.task(takes_context=True, max_attempts=3, backoff=[0.1, 0.3])
def flaky(context, number, failures):
    """Raise in so many attempts; three are the last."""
    with logged(context):
        if context.attempt <= failures:
            raise Planned(f"attempt {context.attempt}")
        return number * 2


@mainspring.task(takes_context=True, max_attempts=20, backoff=0.5)
def parent(context, number, commits):
    """Enqueue three children, and keep them or not; try again when the database is away."""
    with logged(context):
        (offers.offer_together if commits else offers.offer_and_undo)(*children(number))
        return number * 2


@mainspring.task(takes_context=True, max_attempts=20, backoff=0.5)
async def async_parent(context, number, commits):
    with logged(context):
        offer = offers.offer_together if commits else offers.offer_and_undo
        await sync_to_async(offer)(*children(number))
        return number * 2


@mainspring.task(takes_context=True)
def once(context):
    """Leave one event, for counting many runs."""
    events.write("ran", context.task_result.id, context.attempt)


def children(number: int) -> list[offers.Call]:
    soon = timedelta(seconds=number % 7 / 10)
    return [(short, [number]), (async_short, [number]), (short.using(run_after=soon), [number])]


USE_THE_STORE = frozenset({"parent", "async_parent"})


def due(name: str, args: list[Any]) -> Due:
    """Return what a job of this task with these arguments must come to."""
    if name == "flaky" and args[1] >= 3:
        return Due(State.FAILED, 3, None)
    return Due(State.SUCCEEDED, args[1] + 1 if name == "flaky" else 1, str(args[0] * 2))


@contextmanager
def logged(context: Any) -> Iterator[None]:
    job_id, attempt = context.task_result.id, context.attempt
    started = events.write("started", job_id, attempt)
    try:
        yield
    finally:
        events.write("ended", job_id, attempt, detail=started)
