"""The kinds of values that options take: what each accepts, in words, and how it is read."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from mainspring.brokers.rates import parse_rate
from mainspring.durations import to_seconds
from mainspring.retries import parse_backoff

LONGEST_QUEUE_NAME = 100  # characters, the width of its column
RETENTION = {"succeeded": "7d", "failed": "30d"}
BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG][bB])", re.ASCII)


class WrongInside(ValueError):
    """What is wrong stands deeper in the value; the text says where, what was expected and what came."""


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


def none_for_zero(kind: Kind) -> Kind:
    """0 stands for "no limit", so that a task or a queue can lift what stands above it."""
    return Kind(f"{kind.accepts}; 0 is no limit", lambda value: kind.read(value) or None)


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


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 100:
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


def _url(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError
    urlsplit(value).port  # noqa: B018 - a ValueError if that is no number
    return value


def _prefix(value: Any) -> str:
    # Braces would choose the hash slot in a Cluster.
    if not isinstance(value, str) or not re.fullmatch(r"[^{}\s\0]{1,100}", value):
        raise ValueError
    return value


def _size(value: Any) -> int:
    if isinstance(value, str) and (match := SIZE.fullmatch(value.strip())):
        value = round(float(match[1]) * BYTES[match[2].upper()])
    return int(whole(1_000_000, 10**15).read(value))


def _rate(value: Any) -> str:
    parse_rate(value)
    return str(value)


def _settings_of_queues(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError
    return {_queue_name(name): _settings_of_queue(name, given) for name, given in value.items()}


def _settings_of_queue(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise WrongInside(f"{name!r}: expected a dict, got {given!r:.100}")
    settings = {}
    for key, value in given.items():
        if key not in OF_A_QUEUE:
            raise WrongInside(f"{name!r}: unknown setting {key!r}; there is {', '.join(sorted(OF_A_QUEUE))}")
        try:
            settings[key] = OF_A_QUEUE[key].read(value)
        except ValueError:
            raise WrongInside(f"{name!r}, {key!r}: expected {OF_A_QUEUE[key].accepts}, got {value!r:.100}") from None
    return settings


def _processes(value: Any) -> int:
    if isinstance(value, str) and (match := re.fullmatch(r"auto|cores\*(\d+(?:\.\d+)?)", value)):
        return int(min(max(cores() * float(match[1] or 1), 1), 1000))
    return int(whole(1, 1000).read(value))


def _retention(value: Any) -> dict[str, float | None]:
    if not isinstance(value, Mapping) or not value.keys() <= RETENTION.keys():
        raise ValueError
    return {end: KEPT.read(value.get(end, default)) for end, default in RETENTION.items()}


BOOLEAN = Kind("True or False", _boolean)
TEXT = Kind("a text of 1 to 100 characters", _text)
SIZE_IN_BYTES = Kind("a number of bytes or a text like '300MB' or '1.5GB', at least 1 MB", _size)
TIMEOUT = duration("0s", "365d")
TIMEOUT_OR_NONE = none_for_zero(TIMEOUT)
GRACE = duration("0s", "1d")
RATE = Kind("a rate such as '100/m', '5/10s' or '1000/h'", _rate)
CONCURRENCY = whole(1, 1_000_000_000)
OF_A_QUEUE = {"timeout": TIMEOUT_OR_NONE, "grace": GRACE, "rate": RATE, "concurrency": CONCURRENCY}
QUEUE_SETTINGS = Kind(f"a dict of queue names, each with a dict of {', '.join(OF_A_QUEUE)}", _settings_of_queues)
DATABASE = Kind("the name of one of DATABASES", _database)
URL_EXAMPLE = 'For example "redis://localhost:6379/0", or "rediss://user:password@host:6380/0" for TLS.'
URL = Kind("a URL that begins with redis://, rediss:// or unix://", _url)
PREFIX = Kind("a text of 1 to 100 characters without blanks and braces", _prefix)
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
