"""Tables with many rows, written by the database itself; for processes that have Django set up."""

import time
from typing import Any

import jobs

AT_ONCE = 500_000  # rows of one transaction
PUSHED_AT_ONCE = 2000
HOUR = 3_600_000_000  # microseconds
YEAR = 365 * 24 * HOUR
SERIES = {
    "postgresql": "SELECT n FROM generate_series({}, {}) AS series (n)",
    "mysql": "SELECT seq AS n FROM seq_{}_to_{}",
    "sqlite": "WITH RECURSIVE s (n) AS (SELECT {} UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s",
}
GROWING = ("enqueued_at", "rank", "due_at", "run_after", "finished_at")
NUMBERED = {
    "postgresql": "%s || lpad(n::text, 12, '0')",
    "mysql": "concat(%s, lpad(n, 12, '0'))",
    "sqlite": "%s || substr('000000000000' || n, -12)",
}


def fill(state: str, number: int, task_path: str = "benchmarks.project.tasks.noop", age: int = 0) -> str:
    """
    Add so many jobs in this state: "ready", "deferred" (for a year) or "succeeded" (just now).

    They were enqueued `age` microseconds ago, one after the other. Return the id of the last.
    """
    job = _first(state, task_path, jobs.broker().now() - age - number)
    (_push if jobs.broker().using is None else _insert)(job, number)
    return _id(job, number)


def _first(state: str, task_path: str, at: int) -> Any:
    """Return the job of which the others are copies with other numbers."""
    from mainspring import job as machine
    from mainspring.payload import NO_ARGUMENTS

    job = machine.new_job(
        task_path=task_path,
        arguments=NO_ARGUMENTS,
        queue_name="default",
        priority=0,
        at=at,
        run_after=at + YEAR if state == "deferred" else None,
    )
    if state == "succeeded":
        return machine.succeed(machine.claim(job, "worker", machine.new_token(), at), "null", at, at)
    return job


def _id(job: Any, number: int) -> str:
    return f"{job.id[:24]}{number:012d}"


def _insert(job: Any, number: int) -> None:
    """Insert rows that differ in their id and in what grows with time."""
    from django.db import connections

    from mainspring.brokers.database.tables import FINISHED, FINISHED_COLUMNS, JOB, JOB_COLUMNS

    broker = jobs.broker()
    connection, quote = connections[broker.using], broker._store.quote
    table, columns = (FINISHED, FINISHED_COLUMNS) if job.finished_at else (JOB, JOB_COLUMNS)
    expressions, values = [], []
    for name in columns:
        value = getattr(job, name)
        is_counted = name in GROWING and value is not None
        expressions.append(NUMBERED[connection.vendor] if name == "id" else "%s + n" if is_counted else "%s")
        values.append(job.id[:24] if name == "id" else value)
    names = ", ".join(f"{quote}{name}{quote}" for name in columns)
    for start in range(1, number + 1, AT_ONCE):
        series = SERIES[connection.vendor].format(start, min(start + AT_ONCE - 1, number))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({names}) SELECT {', '.join(expressions)} FROM ({series}) AS numbers", values
            )


def _push(job: Any, number: int) -> None:
    """Push jobs that differ likewise: the script that stores new jobs takes them in every state."""
    growing = {name: getattr(job, name) for name in GROWING if getattr(job, name) is not None}
    for start in range(1, number + 1, PUSHED_AT_ONCE):
        numbers = range(start, min(start + PUSHED_AT_ONCE, number + 1))
        copies = [{name: value + n for name, value in growing.items()} | {"id": _id(job, n)} for n in numbers]
        jobs.broker().push([job._replace(**copy) for copy in copies])


def settle() -> None:
    """Let the database do now what it would otherwise do in the background: what was filled was filled long ago."""
    from django.db import connections

    broker = jobs.broker()
    if broker.using is None:
        while broker._client.facts()["aof_rewrite_in_progress"] == "1":
            time.sleep(0.5)
        return
    connection = connections[broker.using]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE mainspring_job")
            cursor.execute("VACUUM ANALYZE mainspring_finished")
        elif connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE mainspring_job, mainspring_finished")
            cursor.fetchall()
            _wait_for_flush(cursor)
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.fetchall()


def _wait_for_flush(cursor: Any) -> None:
    deadline, before = time.monotonic() + 120, -1
    while time.monotonic() < deadline:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
        now = int(cursor.fetchone()[1])
        if now == before or now < 100:  # pages that nobody flushes are in nobody's way
            return
        before = now
        time.sleep(2)
