"""Looking at jobs: pages of them, how many there are, and whether others see them."""

from collections.abc import Collection
from contextlib import closing

from django.db import OperationalError

from mainspring.brokers.database.listeners import own_connection
from mainspring.brokers.database.store import Connection, Store, as_jobs
from mainspring.brokers.database.tables import FINISHED, JOB
from mainspring.job import ALONE, ENDS, TIME_BITS, Job


def search(
    connection: Connection,
    store: Store,
    states: Collection[str] | None,
    queue_name: str | None,
    task_path: str | None,
    limit: int,
    before_id: str | None,
) -> list[Job]:
    """Return a page of jobs, live and ended, newest first; what is None is not asked for."""
    conditions = {
        f"state {store.is_in}": None if states is None else store.listed([str(state) for state in states]),
        "queue_name = %s": queue_name,
        "task_path = %s": task_path,
        "id < %s": before_id,
    }
    given = {text: value for text, value in conditions.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    found: dict[str, Job] = {}
    with connection.cursor() as cursor:
        for table, columns in ((JOB, store.job_columns), (FINISHED, store.finished_as_job)):
            cursor.execute(
                f"SELECT {columns} FROM {table} {where} ORDER BY id DESC LIMIT %s", [*given.values(), limit]
            )
            found |= {job.id: job for job in as_jobs(cursor)}
    return sorted(found.values(), key=lambda job: job.id, reverse=True)[:limit]


def ahead(connection: Connection, store: Store, queue_name: str, rank: int, limit: int) -> int:
    """Return how many ready jobs of a queue stand before this rank in the same line, up to `limit`."""
    column = store.names(["rank"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {JOB} {store.by_rank} WHERE queue_name = %s AND {column} >= %s"
            f" AND {column} < %s AND state = 'ready' LIMIT %s) AS those_ahead",
            [queue_name, rank & ALONE, rank, limit],
        )
        return int(cursor.fetchone()[0])


def counts(connection: Connection, store: Store, ended_since: int) -> list[tuple[str, str, int, int | None]]:
    """Return (queue, state, number, since when the oldest of them has stood in line)."""
    in_line_since = f"CAST({store.names(['rank'])} & {(1 << TIME_BITS) - 1} AS {store.bigint})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT queue_name, state, count(*), min(CASE state WHEN 'ready' THEN {in_line_since} END)"
            f" FROM {JOB} GROUP BY 1, 2"
        )
        live = cursor.fetchall()
        cursor.execute(
            f"SELECT queue_name, state, count(*), NULL FROM {FINISHED}"
            f" WHERE state {store.is_in} AND finished_at >= %s GROUP BY 1, 2",
            [store.listed([str(state) for state in ENDS]), ended_since],
        )
        return [*live, *cursor.fetchall()]


def is_hidden(connection: Connection, store: Store, id: str) -> bool:
    """Does this connection see a job that others do not?"""
    with closing(own_connection(connection)) as own:
        try:
            return store.get(own, id) is None
        except OperationalError:
            if not store.can_lock_readers_out:
                raise
            return True  # by what this very transaction has written
