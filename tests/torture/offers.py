"""Enqueueing so that the log knows what became of every job's transaction, whatever ends the process in between."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.db import transaction

from tests.torture import events

Call = tuple[Any, Sequence[Any]]


class Undo(Exception):
    """Rolls a transaction back on purpose."""


def offer(*calls: Call) -> None:
    """Enqueue calls, each `(task, arguments)`, one by one and without a transaction around."""
    for task, args in calls:
        result = task.enqueue(*args)
        _note("offered", [result], [(task, args)])
        _note("committed", [result])


def offer_together(*calls: Call) -> None:
    """Enqueue calls in one transaction. Killed before the last line, nobody knows whether it was committed."""
    with transaction.atomic():
        results = [task.enqueue(*args) for task, args in calls]
        _note("offered", results, calls)
    _note("committed", results)


def offer_and_undo(*calls: Call) -> None:
    """Enqueue calls in a transaction that is rolled back: none of them may ever run."""
    with suppress(Undo), transaction.atomic():
        results = [task.enqueue(*args) for task, args in calls]
        _note("undone", results, calls)
        raise Undo


def _note(kind: str, results: Sequence[Any], calls: Sequence[Call] | None = None) -> None:
    for result, call in zip(results, calls or [None] * len(results), strict=True):
        events.write(kind, result.id, detail=call and [call[0].name, list(call[1])])
