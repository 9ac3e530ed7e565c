"""The kinds of values that options take: what each accepts, in words, and how it is read."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from mainspring.durations import to_seconds
from mainspring.retries import parse_backoff

LONGEST_QUEUE_NAME = 100  # characters, the width of its column
RETENTION = {"succeeded": "7d", "failed": "30d"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What values an option accepts, in words, and how one is read; `read` raises ValueError to refuse."""

    accepts: str
    read: Callable[[Any], Any]


def whole(low: int, high: int) -> Kind:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"a whole number from {low:,} to {high:,}", read)


def duration(low: str, high: str) -> Kind:
    def read(value: Any) -> float:
        seconds = to_seconds(value)
        if not to_seconds(low) <= seconds <= to_seconds(high):
            raise ValueError
        return seconds

    return Kind(f"seconds, a timedelta or a text like '90s', '10m', '2h' or '7d', from {low} to {high}", read)


def or_none(kind: Kind) -> Kind:
    return Kind(f"{kind.accepts}, or None", lambda value: None if value is None else kind.read(value))


def list_of(kind: Kind) -> Kind:
    def read(value: Any) -> tuple[Any, ...]:
        # A text is a sequence too, of its letters.
        if not isinstance(value, list | tuple | set | frozenset):
            raise ValueError
        return tuple(kind.read(item) for item in value)

    return Kind(f"a list of {kind.accepts}", read)


def cores() -> int:
    """Return how many processor cores this process may use: its affinity, and its container's quota."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no Linux, no such file, or the quota is "max"
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        number = min(number, max(quota // period, 1))
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _queue_name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_QUEUE_NAME:
        raise ValueError
    return value


def _module(value: Any) -> str:
    if not isinstance(value, str) or not all(part.isidentifier() for part in value.split(".")):
        raise ValueError
    return value


def _database(value: Any) -> str:
    if not isinstance(value, str) or value not in settings.DATABASES:
        raise ValueError
    return value


def _processes(value: Any) -> int:
    if isinstance(value, str) and (match := re.fullmatch(r"auto|cores\*(\d+(?:\.\d+)?)", value)):
        return int(min(max(cores() * float(match[1] or 1), 1), 1000))
    return int(whole(1, 1000).read(value))


def _retention(value: Any) -> dict[str, float | None]:
    if not isinstance(value, Mapping) or not value.keys() <= RETENTION.keys():
        raise ValueError
    return {end: KEPT.read(value.get(end, default)) for end, default in RETENTION.items()}


BOOLEAN = Kind("True or False", _boolean)
DATABASE = Kind("the name of one of DATABASES", _database)
QUEUE_NAMES = list_of(Kind(f"queue names (texts of 1 to {LONGEST_QUEUE_NAME} characters)", _queue_name))
MODULES = list_of(Kind("dotted module names", _module))
PROCESSES = Kind("a whole number from 1 to 1,000, 'auto' (one for each core) or 'cores*N'", _processes)
KEPT = or_none(duration("0s", "36500d"))
RETENTIONS = Kind("a dict with 'succeeded' and 'failed', each a duration or None", _retention)
BACKOFF = Kind(
    "'exponential', 'linear', 'fixed', a Backoff, a duration, a list of durations, "
    "or a plain function of the attempt and the exception",
    parse_backoff,
)
