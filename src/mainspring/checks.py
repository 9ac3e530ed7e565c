"""System checks: what is wrong with the settings of a backend, each with the way out; docs/reference/checks.md."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from mainspring import kinds
from mainspring.brokers.database.tables import FINISHED, INSTALLATION, JOB, OUTBOX, QUESTION, WAITER, WORKER
from mainspring.compat import task_backends
from mainspring.conf import OPTIONS, did_you_mean, parse, prefix_for, problems_of
from mainspring.exceptions import BrokerUnavailable
from mainspring.worker.plan import Plan

KEYS = {"BACKEND", "QUEUES", "OPTIONS"}
# The options by which workers look after every job in their database.
DUTIES = {
    "rescue_after": attrgetter("rescue_after"),
    "max_crashes": attrgetter("max_crashes"),
    "retention": attrgetter("keep_succeeded", "keep_failed"),
}
SHORT_TIMEOUT = 10  # seconds; a checkpoint of a large WAL file can hold a writer up longer than SQLite's usual 5
SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
# What each vendor answers is how many connections ordinary users can open.
LIMITS = {
    "postgresql": "SELECT current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - COALESCE(current_setting('reserved_connections', true), '0')::int",
    "mysql": "SELECT @@max_connections",
}


def check_backend(alias: str, params: Mapping[str, Any]) -> list[CheckMessage]:
    """Return what is wrong with `TASKS[alias]`, which is `params`, as far as it shows without asking a database."""
    if not apps.is_installed("mainspring"):
        hint = 'Add "mainspring" to INSTALLED_APPS, then run `manage.py migrate`.'
        return [Error(f"TASKS[{alias!r}] needs the app mainspring.", hint=hint, id="mainspring.E002")]
    problems = [*_unknown_keys(alias, params), *_options(alias, params), *_queues(alias, params)]
    if any(isinstance(problem, Error) for problem in problems):
        return problems
    return [
        *problems,
        *_on_commit(alias, params),
        *_redis(alias, params),
        *_sqlite(alias),
        *_shared_database(alias, params),
        *_shared_duties(alias, params),
    ]


def check_databases(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Return what is wrong with the databases that hold jobs; runs with `manage.py check --database ALIAS`."""
    used = {alias: _database_of(alias) for alias in getattr(settings, "TASKS", {})}
    asked = {alias: database for alias, database in used.items() if database and database in (databases or ())}
    messages = [message for database in dict.fromkeys(asked.values()) for message in _tables(database)]
    return messages + [message for alias, database in asked.items() for message in _connections(alias, database)]


def check_stores(**_: Any) -> list[CheckMessage]:
    """Return what stores put at risk by their own settings; runs with `manage.py check --deploy`."""
    return [message for alias in getattr(settings, "TASKS", {}) for message in risks_of(alias)]


def risks_of(alias: str) -> list[CheckMessage]:
    """Return what the store of `TASKS[alias]` puts at risk, or that it does not answer."""
    from mainspring.backends import MainspringBackend  # it calls us

    backend = task_backends[alias]
    if problems_of(alias, settings.TASKS[alias]) or not isinstance(backend, MainspringBackend):
        return []
    try:
        found = backend.broker.risks()
    except (BrokerUnavailable, ImproperlyConfigured) as error:
        return [Warning(f"TASKS[{alias!r}]: its store cannot be looked at. {error}", id="mainspring.W007")]
    return [
        Warning(f"TASKS[{alias!r}]: its store {risk.text}", hint=risk.hint, id="mainspring.W006") for risk in found
    ]


def register_checks() -> None:
    register(check_databases, Tags.database)
    register(check_stores, deploy=True)


# The settings alone.


def _unknown_keys(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for key in params.keys() - KEYS:
        belongs = str(key).lower() in OPTIONS
        hint = f"Put it into TASKS[{alias!r}]['OPTIONS'], in lower case." if belongs else "Take it out."
        yield Warning(f"TASKS[{alias!r}][{key!r}] is read by nobody.", hint=hint, id="mainspring.W005")


def _options(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for problem in problems_of(alias, params):
        yield Error(problem, hint="docs/reference/options.md lists every option.", id="mainspring.E001")


def _queues(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    known = params.get("QUEUES", ["default"])
    try:
        kinds.QUEUE_NAMES.read(known)
    except ValueError:
        yield Error(
            f"TASKS[{alias!r}]['QUEUES']: expected {kinds.QUEUE_NAMES.accepts}, got {known!r:.100}.",
            hint='For example: "QUEUES": ["default", "mail"]; an empty list allows every name.',
            id="mainspring.E003",
        )
        return
    if problems_of(alias, params):
        return
    options = parse(alias, params)
    if not known:
        if options.exclude and not options.serve:
            yield Error(
                f"TASKS[{alias!r}] OPTIONS['exclude']: QUEUES is empty, so there is no list to exclude from.",
                hint="List all queues in QUEUES, or name those to serve in the option 'serve'.",
                id="mainspring.E003",
            )
        return
    for option, names in (("serve", options.serve or ()), ("exclude", options.exclude)):
        for name in names:
            if name not in known:
                yield Error(
                    f"TASKS[{alias!r}] OPTIONS[{option!r}]: QUEUES has no {name!r}{did_you_mean(name, known)}",
                    hint="Correct the name, or add it to QUEUES.",
                    id="mainspring.E003",
                )
    if set(options.serve or known) <= set(options.exclude):
        yield Error(
            f"TASKS[{alias!r}] OPTIONS['exclude']: no queue is left for a worker to serve.",
            hint="Leave out the option 'exclude', or a name in it.",
            id="mainspring.E003",
        )


def _on_commit(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    on_commit = parse(alias, params).on_commit
    if on_commit is False:
        yield Warning(
            f"TASKS[{alias!r}] OPTIONS['on_commit'] is False: a job that is enqueued in another database's "
            "transaction is sent at once. It can run before the commit, and runs even if that never comes.",
            hint="Leave the option out: the outbox sends it after the commit. If that is meant, silence this check.",
            id="mainspring.W003",
        )
    if on_commit:
        yield Warning(
            f"TASKS[{alias!r}] OPTIONS['on_commit']: a job that is enqueued in another database's transaction is lost "
            "when the process dies between the commit and the sending, or when an earlier on_commit hook raises.",
            hint="Leave the option out: the outbox loses none. If a loss is acceptable, silence this check.",
            id="mainspring.W003",
        )


# What the settings say about a Redis.


def _redis(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    from mainspring.backends import RedisBackend  # it calls us

    options, is_on_redis = parse(alias, params), isinstance(task_backends[alias], RedisBackend)
    if is_on_redis and options.url is None:
        yield Error(
            f"TASKS[{alias!r}] OPTIONS['url'] must say where Redis is.", hint=kinds.URL_EXAMPLE, id="mainspring.E006"
        )
    if is_on_redis and not find_spec("redis"):
        yield Error(
            f"TASKS[{alias!r}] keeps its jobs on Redis, whose client is not installed.",
            hint="Run `pip install 'django-mainspring[redis]'`.",
            id="mainspring.E007",
        )
    for name in ("url", "prefix"):
        if not is_on_redis and getattr(options, name) is not None:
            yield Warning(
                f"TASKS[{alias!r}] OPTIONS[{name!r}] is read by nobody: this backend keeps no jobs on Redis.",
                hint='Set BACKEND to "mainspring.backends.RedisBackend", or take the option out.',
                id="mainspring.W005",
            )


# What the settings say about a database.


def _sqlite(alias: str) -> Iterator[CheckMessage]:
    database = _database_of(alias)
    connection: Any = None if database is None else connections[database]
    if connection is None or connection.vendor != "sqlite" or connection.is_in_memory_db():
        return
    if database in map(_database_of, _aliases_before(alias)):
        return  # it has been said
    given = connection.settings_dict["OPTIONS"]
    lacking = [name for name, is_set in _sqlite_settings(given).items() if not is_set]
    if not lacking:
        return
    lines = "".join(f"\n    {key!r}: {value!r}," for key, value in _advised(given).items())
    yield Warning(
        f"DATABASES[{database!r}] holds jobs in SQLite without {', '.join(lacking)}: readers and writers get in each "
        'other\'s way, up to the error "database is locked".',
        hint=f"Set DATABASES[{database!r}]['OPTIONS'] to {{{lines}\n}}\nsynchronous=NORMAL makes a write about seven "
        "times as fast, and a power failure can take the last commits back (a crash of a process cannot): jobs that "
        "were enqueued then are gone, jobs that had finished run again. Leave that PRAGMA out to keep every commit.",
        id="mainspring.W001",
    )


def _sqlite_settings(given: Mapping[str, Any]) -> dict[str, bool]:
    return {
        "transaction_mode IMMEDIATE": str(given.get("transaction_mode")).upper() in ("IMMEDIATE", "EXCLUSIVE"),
        f"a timeout of {SHORT_TIMEOUT} s or more": given.get("timeout", 0) >= SHORT_TIMEOUT,
        "journal_mode WAL": _has_wal(given),
    }


def _advised(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the advice merged into what is there."""
    advised = {**given, **SQLITE, "timeout": max(given.get("timeout", 0), SQLITE["timeout"])}
    own_command = str(given.get("init_command") or "").strip().rstrip(";")
    if own_command:
        advised["init_command"] = own_command + ";" + ("" if _has_wal(given) else f" {SQLITE['init_command']}")
    return advised


def _has_wal(given: Mapping[str, Any]) -> bool:
    return "journal_mode=wal" in "".join(str(given.get("init_command")).lower().split())


def _shared_database(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Rows do not say which alias they belong to, only which queue."""
    for other in _sharers_before(alias):
        mine, others = (set(tasks.get("QUEUES", ["default"])) for tasks in (params, settings.TASKS[other]))
        # No name stands for all of them.
        if not mine or not others or mine & others:
            yield Error(
                f"TASKS[{other!r}] and TASKS[{alias!r}] keep their jobs in one place and share queues: "
                "the workers of each would run the other's jobs.",
                hint="Give each its own names in QUEUES, or its own OPTIONS['database'] (or 'prefix').",
                id="mainspring.E004",
            )


def _shared_duties(alias: str, params: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Workers rescue and prune whatever they find in their database, whichever alias it belongs to."""
    for other in _sharers_before(alias):
        mine, others = parse(alias, params), parse(other, settings.TASKS[other])
        if names := [name for name, fields in DUTIES.items() if fields(mine) != fields(others)]:
            yield Error(
                f"TASKS[{other!r}] and TASKS[{alias!r}] keep their jobs in one place and differ in OPTIONS "
                f"{', '.join(map(repr, names))}: the workers of each would rescue and prune the other's jobs by their "
                "own.",
                hint="Give both the same values, or each its own OPTIONS['database'].",
                id="mainspring.E005",
            )


def _sharers_before(alias: str) -> list[str]:
    """Return the aliases of TASKS up to this one that keep their jobs in the same place."""
    mine = _place_of(alias)
    return [other for other in _aliases_before(alias) if mine is not None and mine == _place_of(other)]


def _place_of(alias: str) -> tuple[str, ...] | None:
    """Return what is the same for two backends only if their jobs are in one place; None if nobody can know."""
    database = _database_of(alias)
    if database is not None:
        place = connections[database].settings_dict
        return tuple(str(place[key]) for key in ("ENGINE", "HOST", "PORT", "NAME"))
    if problems_of(alias, settings.TASKS[alias]):
        return None
    options = parse(alias, settings.TASKS[alias])
    return None if options.url is None else (options.url, prefix_for(alias, options))


def _aliases_before(alias: str) -> list[str]:
    """Return the aliases of TASKS up to this one, so that what is about two of them is said once."""
    aliases = list(settings.TASKS)
    return aliases[: aliases.index(alias)]


def _database_of(alias: str) -> str | None:
    """Return the alias in DATABASES where a backend keeps its jobs; None when it does not, or nobody can know."""
    from mainspring.backends import MainspringBackend  # it calls us

    if problems_of(alias, settings.TASKS[alias]):
        return None
    backend = task_backends[alias]
    return backend.database if isinstance(backend, MainspringBackend) else None


# What the database itself says.


def _tables(database: str) -> Iterator[CheckMessage]:
    # A warning, because `migrate` runs these checks first and an error would keep it from making the tables.
    with connections[database].cursor() as cursor:
        missing = {JOB, FINISHED, OUTBOX, WORKER, WAITER, INSTALLATION, QUESTION}.difference(
            connections[database].introspection.table_names(cursor)
        )
    if missing:
        yield Warning(
            f"DATABASES[{database!r}] has no table {', '.join(sorted(missing))}.",
            hint=f"Run `manage.py migrate --database {database}`; a database router must allow it.",
            id="mainspring.W004",
        )


def _connections(alias: str, database: str) -> Iterator[CheckMessage]:
    connection = connections[database]
    if connection.vendor not in LIMITS:
        return
    with connection.cursor() as cursor:
        cursor.execute(LIMITS[connection.vendor])
        limit = int(cursor.fetchone()[0])
    plan = Plan(backend=alias, database=database)
    if plan.connections > limit:
        yield Warning(
            f"One worker of TASKS[{alias!r}] may need {plan.connections} connections to DATABASES[{database!r}], "
            f"whose server allows {limit}.",
            hint=f"Lower the options 'processes' ({plan.options.processes}) or 'threads' ({plan.options.threads}), "
            "or raise max_connections of the server; other workers and the site need connections too.",
            id="mainspring.W002",
        )
