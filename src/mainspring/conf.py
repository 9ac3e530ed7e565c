"""The options: every key of TASKS[alias]["OPTIONS"] stands in one table here and is read once, at the door."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from mainspring import kinds
from mainspring.exceptions import InvalidOptions
from mainspring.kinds import Kind, duration, or_none, whole
from mainspring.retries import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one alias, checked and complete. Durations are seconds; None means no limit."""

    database: str | None
    url: str | None
    prefix: str | None
    on_commit: bool | None
    max_attempts: int
    backoff: Policy
    max_crashes: int
    rescue_after: float
    shutdown_timeout: float
    keep_succeeded: float | None
    keep_failed: float | None
    timeout: float | None
    grace: float
    queue_settings: Mapping[str, Mapping[str, Any]]
    serve: tuple[str, ...] | None
    exclude: tuple[str, ...]
    processes: int
    threads: int
    async_jobs: int
    max_jobs: int | None
    max_memory: int | None
    max_memory_percent: int | None
    max_idle: float | None
    drain: bool
    reload: bool | None
    site: str | None
    max_payload: int
    max_traceback: int
    task_modules: tuple[str, ...]
    flush_after: float
    flush_jobs: int
    max_in_flight: int


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


def prefix_for(alias: str, options: Options) -> str:
    """Return how the keys of an alias begin in Redis."""
    return options.prefix or f"mainspring:{alias}"


def check_value(name: str, value: object) -> Any:
    """Return a value of the option `name` as Options holds it, or raise InvalidOptions: "expected ..., got ..."."""
    return read_as(OPTIONS[name].kind, value)


def read_as(kind: Kind, value: object) -> Any:
    """Return a value as its kind reads it, or raise InvalidOptions: "expected ..., got ..."."""
    try:
        return kind.read(value)
    except kinds.WrongInside as error:
        raise InvalidOptions(str(error)) from None
    except ValueError:
        raise InvalidOptions(f"expected {kind.accepts}, got {value!r:.100}") from None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, or all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(word).lower(), known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; there is {', '.join(known) or 'none'}."


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
        "queue_settings": values.pop("queues"),
    }


_TABLE = (
    Option(
        "database",
        None,
        or_none(kinds.DATABASE),
        "The database that holds the jobs; None asks the database routers.",
    ),
    Option("url", None, or_none(kinds.URL), "The Redis that holds the jobs."),
    Option(
        "prefix",
        None,
        or_none(kinds.PREFIX),
        "How the keys in Redis begin; None is 'mainspring:' and the alias. "
        "Projects that share a Redis need their own.",
    ),
    Option(
        "on_commit",
        None,
        or_none(kinds.BOOLEAN),
        "How a job reaches a store that is not the database of the open transaction: None by the outbox, which loses "
        "none; True after the commit, without the outbox, so that a crash in between loses it; False at once, even if "
        "the transaction is rolled back.",
    ),
    Option("max_attempts", 1, whole(1, 1_000_000), "How often a job whose task raises is run in all."),
    Option("backoff", "exponential", kinds.BACKOFF, "How long a job waits before its next attempt."),
    Option(
        "max_crashes",
        3,
        whole(0, 1000),
        "At which death of its worker a job is given up; 0 runs every job at most once, whatever cut it off.",
    ),
    Option(
        "rescue_after",
        15,
        duration("5s", "1h"),
        "How long it may take until the jobs of a worker that went silent run again.",
    ),
    Option(
        "shutdown_timeout",
        8,
        duration("0s", "1d"),
        "How long running jobs may take to finish when a worker is told to stop.",
    ),
    Option(
        "retention",
        kinds.RETENTION,
        kinds.RETENTIONS,
        "How long ended jobs are kept; None keeps them for ever, and every end but success follows 'failed'.",
    ),
    Option(
        "timeout",
        None,
        or_none(kinds.TIMEOUT_OR_NONE),
        "How long a job may run; a task and a queue can say otherwise. None is no limit.",
    ),
    Option(
        "grace",
        5,
        kinds.GRACE,
        "How long a job may take no notice of its timeout before it is failed and its process replaced.",
    ),
    Option("queues", {}, kinds.QUEUE_SETTINGS, "What holds for the jobs of single queues."),
    Option("serve", None, or_none(kinds.QUEUE_NAMES), "The queues that a worker serves; None is all of QUEUES."),
    Option("exclude", [], kinds.QUEUE_NAMES, "Queues that a worker leaves alone."),
    Option("processes", 1, kinds.PROCESSES, "How many processes a worker runs."),
    Option("threads", 4, whole(0, 256), "How many threads run tasks in each process."),
    Option("async", 100, whole(0, 10_000), "How many async jobs run at once in each process."),
    Option(
        "max_jobs",
        None,
        or_none(whole(1, 1_000_000_000)),
        "How many jobs a process takes before a fresh one replaces it; None is no limit.",
    ),
    Option(
        "max_memory",
        None,
        or_none(kinds.SIZE_IN_BYTES),
        "How much memory a process may use before a fresh one replaces it; None is no limit.",
    ),
    Option(
        "max_memory_percent",
        None,
        or_none(whole(1, 99)),
        "At which use of the machine's memory the largest process is replaced; None is no limit.",
    ),
    Option(
        "max_idle",
        None,
        or_none(duration("0s", "365d")),
        "How long a worker waits without a job before it ends; None waits for ever.",
    ),
    Option("drain", False, kinds.BOOLEAN, "End the worker as soon as no job is ready."),
    Option(
        "reload",
        None,
        or_none(kinds.BOOLEAN),
        "Start the processes again when the code changes; None does so where DEBUG is True.",
    ),
    Option(
        "site",
        None,
        or_none(kinds.TEXT),
        "The name of this installation; workers refuse a database that belongs to another.",
    ),
    Option(
        "max_payload",
        1_000_000,
        whole(1, 1_000_000_000),
        "How many bytes the arguments of a job, and its result, may take as JSON.",
    ),
    Option("max_traceback", 16_384, whole(200, 1_000_000), "How many characters of a traceback are kept."),
    Option("task_modules", [], kinds.MODULES, "Modules outside the installed apps whose tasks may be run."),
    Option(
        "flush_after",
        0.01,
        duration("0s", "10s"),
        "How long an outcome may wait for others to be stored in one go; a crash in between runs its job again.",
    ),
    Option("flush_jobs", 64, whole(1, 1000), "How many outcomes may wait to be stored in one go."),
    Option(
        "max_in_flight",
        256,
        whole(1, 10_000),
        "How many claimed jobs a process may hold beyond those that it runs: the most that a crash can run twice.",
    ),
)
OPTIONS = {option.name: option for option in _TABLE}


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "TASKS":
        options_for.cache_clear()


setting_changed.connect(_forget)
