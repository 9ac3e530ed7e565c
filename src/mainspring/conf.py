"""The options: every key of TASKS[alias]["OPTIONS"] stands in one table here and is read once, at the door."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from mainspring.durations import to_seconds
from mainspring.exceptions import InvalidOptions
from mainspring.retries import Policy, parse_backoff

DAY = 86_400
LONGEST_QUEUE_NAME = 100  # characters, the width of its column


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one alias, checked and complete. Durations are seconds; None means no limit."""

    database: str | None
    on_commit: bool
    max_attempts: int
    backoff: Policy
    max_crashes: int
    rescue_after: float
    shutdown_timeout: float
    keep_succeeded: float | None
    keep_failed: float | None
    queues: tuple[str, ...] | None
    exclude: tuple[str, ...]
    processes: int
    threads: int
    async_jobs: int
    max_jobs: int | None
    max_idle: float | None
    drain: bool
    max_payload: int
    max_traceback: int
    task_modules: tuple[str, ...]
    flush_after: float
    flush_jobs: int


@dataclass(frozen=True, slots=True)
class Kind:
    """What values an option accepts, in words, and how one becomes a field; `read` raises ValueError to refuse."""

    accepts: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One line of the table. `help` is one sentence, for the reference and for `--help`."""

    name: str
    default: Any
    kind: Kind
    help: str


def parse(alias: str, params: Mapping[str, Any]) -> Options:
    """Return the options of `TASKS[alias]`, which is `params`; raise InvalidOptions that lists everything wrong."""
    values, problems = _read_all(alias, params.get("OPTIONS", {}))
    if problems:
        raise InvalidOptions("\n".join(problems))
    return Options(**values)


def problems_of(alias: str, params: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the options of `TASKS[alias]`, one sentence each."""
    return _read_all(alias, params.get("OPTIONS", {}))[1]


@cache
def options_for(alias: str) -> Options:
    """Return the options of an alias, read once."""
    tasks: dict[str, Any] = getattr(settings, "TASKS", {})
    if alias not in tasks:
        raise InvalidOptions(f"TASKS has no {alias!r}{did_you_mean(alias, tasks)}")
    return parse(alias, tasks[alias])


def check_value(name: str, value: object) -> Any:
    """Return a value of the option `name` as Options holds it, or raise InvalidOptions: "expected ..., got ..."."""
    kind = OPTIONS[name].kind
    try:
        return kind.read(value)
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        raise InvalidOptions(f"expected {kind.accepts}, got {value!r:.100}{reason}") from None


def check_text(name: str, text: str) -> Any:
    """Do as `check_value` for a value from a command line, where "4" is the number 4."""
    for number in (int, float):
        with suppress(ValueError):
            return check_value(name, number(text))
    return check_value(name, text)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(word).lower(), known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; there is {', '.join(known) or 'none'}."


def cores() -> int:
    """Return how many processor cores this process may use: its affinity, and its container's quota."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no Linux, no such file, or the quota is "max"
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        number = min(number, max(quota // period, 1))
    return number


def _read_all(alias: str, given: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of Options, and everything that is wrong."""
    place = f"TASKS[{alias!r}] OPTIONS"
    if not isinstance(given, Mapping):
        return {}, [f"{place}: expected a dict, got {given!r:.100}."]
    problems = [f"{place}: unknown option {key!r}{did_you_mean(key, OPTIONS)}" for key in given if key not in OPTIONS]
    values: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        try:
            values[name] = check_value(name, given.get(name, option.default))
        except InvalidOptions as error:
            problems.append(f"{place}[{name!r}]: {error}.")
    if not problems and not values["threads"] and not values["async"]:
        problems.append(f"{place}: 'threads' and 'async' are both 0; nothing could run.")
    return (values if problems else _fields(values)), problems


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values by the names of their fields."""
    kept = values.pop("retention")
    return values | {
        "keep_succeeded": kept["succeeded"],
        "keep_failed": kept["failed"],
        "async_jobs": values.pop("async"),
    }


# The kinds of values.


def _whole(low: int, high: int) -> Kind:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"a whole number from {low:,} to {high:,}", read)


def _duration(low: str, high: str) -> Kind:
    def read(value: Any) -> float:
        seconds = to_seconds(value)
        if not to_seconds(low) <= seconds <= to_seconds(high):
            raise ValueError
        return seconds

    return Kind(f"seconds, a timedelta or a text like '90s', '10m', '2h' or '7d', from {low} to {high}", read)


def _or_none(kind: Kind) -> Kind:
    return Kind(f"{kind.accepts}, or None", lambda value: None if value is None else kind.read(value))


def _list_of(kind: Kind) -> Kind:
    def read(value: Any) -> tuple[Any, ...]:
        # A text is a sequence too, of its letters.
        if not isinstance(value, list | tuple | set | frozenset):
            raise ValueError
        return tuple(kind.read(item) for item in value)

    return Kind(f"a list of {kind.accepts}", read)


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
        raise ValueError("DATABASES has " + ", ".join(map(repr, settings.DATABASES)))
    return value


def _processes(value: Any) -> int:
    if isinstance(value, str) and (match := re.fullmatch(r"auto|cores\*(\d+(?:\.\d+)?)", value)):
        return min(max(int(cores() * float(match[1] or 1)), 1), 1000)
    return int(_whole(1, 1000).read(value))


def _backoff(value: Any) -> Policy:
    try:
        return parse_backoff(value)
    except ValueError:
        raise ValueError from None  # the option's own words name every form


def _retention(value: Any) -> dict[str, float | None]:
    if not isinstance(value, Mapping) or not value.keys() <= RETENTION.keys():
        raise ValueError
    return {end: _kept.read(value.get(end, default)) for end, default in RETENTION.items()}


_kept = _or_none(_duration("0s", "36500d"))
_boolean_kind = Kind("True or False", _boolean)
_queue_names = _list_of(Kind(f"queue names (texts of 1 to {LONGEST_QUEUE_NAME} characters)", _queue_name))

RETENTION = {"succeeded": "7d", "failed": "30d"}

_TABLE = (
    Option(
        "database",
        None,
        _or_none(Kind("the name of one of DATABASES", _database)),
        "The database that holds the jobs; None asks the database routers.",
    ),
    Option(
        "on_commit",
        False,
        _boolean_kind,
        "Send a job that is enqueued in another database's transaction after its commit, without the outbox; "
        "a crash in between loses the job.",
    ),
    Option("max_attempts", 1, _whole(1, 1_000_000), "How often a job whose task raises is run in all."),
    Option(
        "backoff",
        "exponential",
        Kind(
            "'exponential', 'linear', 'fixed', a Backoff, a duration, a list of durations, "
            "or a plain function of the attempt and the exception",
            _backoff,
        ),
        "How long a job waits before its next attempt.",
    ),
    Option(
        "max_crashes",
        3,
        _whole(0, 1000),
        "How often the worker may die under a job before the job is given up; 0 runs each job at most once.",
    ),
    Option(
        "rescue_after",
        15,
        _duration("5s", "1h"),
        "How long it may take until the jobs of a worker that went silent run again.",
    ),
    Option(
        "shutdown_timeout",
        8,
        _duration("0s", "1d"),
        "How long running jobs may take to finish when a worker is told to stop.",
    ),
    Option(
        "retention",
        RETENTION,
        Kind("a dict with 'succeeded' and 'failed', each a duration or None", _retention),
        "How long ended jobs are kept; None keeps them for ever, and every end but success follows 'failed'.",
    ),
    Option("queues", None, _or_none(_queue_names), "The queues that a worker serves; None is every queue."),
    Option("exclude", [], _queue_names, "Queues that a worker leaves alone."),
    Option(
        "processes",
        1,
        Kind("a whole number from 1 to 1,000, 'auto' (one for each core) or 'cores*N'", _processes),
        "How many processes a worker runs.",
    ),
    Option("threads", 4, _whole(0, 256), "How many threads run tasks in each process."),
    Option("async", 100, _whole(0, 10_000), "How many async jobs run at once in each process."),
    Option(
        "max_jobs",
        None,
        _or_none(_whole(1, 1_000_000_000)),
        "How many jobs a process runs before a fresh one takes its place.",
    ),
    Option(
        "max_idle",
        None,
        _or_none(_duration("0s", "36500d")),
        "How long a worker waits without a job before it ends; None waits for ever.",
    ),
    Option("drain", False, _boolean_kind, "End the worker as soon as no job is ready."),
    Option(
        "max_payload",
        1_000_000,
        _whole(1, 1_000_000_000),
        "How many bytes the arguments of a job, and its result, may take as JSON.",
    ),
    Option("max_traceback", 16_384, _whole(200, 1_000_000), "How many characters of a traceback are kept."),
    Option(
        "task_modules",
        [],
        _list_of(Kind("dotted module names", _module)),
        "Modules outside the installed apps whose tasks may be run.",
    ),
    Option(
        "flush_after",
        0.01,
        _duration("0s", "10s"),
        "How long an outcome may wait for others to be stored in one go; a crash in between runs its job again.",
    ),
    Option("flush_jobs", 64, _whole(1, 1000), "How many outcomes may wait to be stored in one go."),
)
OPTIONS = {option.name: option for option in _TABLE}


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "TASKS":
        options_for.cache_clear()


setting_changed.connect(_forget)
