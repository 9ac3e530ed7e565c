"""The table of jobs that wait in one database for their way to another store."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mainspring.brokers.database import errors
from mainspring.brokers.database.broker import STORES
from mainspring.brokers.database.tables import OUTBOX
from mainspring.brokers.uniqueness import OnConflict
from mainspring.job import Job

T = TypeVar("T")
Row = tuple[str, str]  # the job's id, and the job as `encode` wrote it


class OutboxTable:
    """
    The outbox of one database, by its alias in DATABASES; `backend` is always an alias in TASKS.

    Every verb raises BrokerUnavailable or BrokerRefused for what the database says.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._connection = connections[alias]

    def exists(self) -> bool:
        if self._connection.vendor not in STORES:
            return False
        return OUTBOX in self._run(lambda connection: connection.introspection.table_names())

    def insert(self, backend: str, jobs: Sequence[Job], on_conflict: OnConflict | None = None) -> None:
        rows = [(job.id, backend, encode(job, on_conflict), job.enqueued_at) for job in jobs]
        self._write(f"INSERT INTO {OUTBOX} (id, alias, job, created_at) VALUES (%s, %s, %s, %s)", rows)

    def get(self, backend: str, id: str) -> Job | None:
        rows = self._read(f"SELECT job FROM {OUTBOX} WHERE id = %s AND alias = %s", [id, backend])
        try:
            return decode(rows[0][0]) if rows else None
        except (TypeError, ValueError):
            return None  # it will never be a job; whoever sweeps says so

    def has_rows(self, backend: str, before: int) -> bool:
        """Does anything wait that was created before this moment? To look takes no lock."""
        found = self._read(f"SELECT 1 FROM {OUTBOX} WHERE alias = %s AND created_at < %s LIMIT 1", [backend, before])
        return bool(found)

    @contextmanager
    def taken(self, backend: str, before: int, limit: int) -> Iterator[list[Row]]:
        """Hold the oldest rows in a transaction around the block; what another process holds is left out."""
        store = STORES[self._connection.vendor]()
        query = f"SELECT id, job FROM {OUTBOX} WHERE alias = %s AND created_at < %s ORDER BY created_at LIMIT %s"
        with store.transaction(self._connection):
            yield self._read(f"{query} {store.skip_locked}", [backend, before, limit])

    @contextmanager
    def held(self, ids: Sequence[str]) -> Iterator[set[str]]:
        """Hold these rows in a transaction around the block; yield which of them, as another process may hold some."""
        store = STORES[self._connection.vendor]()
        marks = ", ".join(["%s"] * len(ids))
        with store.transaction(self._connection):
            rows = self._read(f"SELECT id FROM {OUTBOX} WHERE id IN ({marks}) {store.skip_locked}", ids)
            yield {id for (id,) in rows}

    def delete(self, ids: Collection[str]) -> None:
        self._write(f"DELETE FROM {OUTBOX} WHERE id = %s", [(id,) for id in ids])

    def postpone(self, ids: Collection[str], until: int) -> None:
        """Let others go first; `until` is a moment."""
        self._write(f"UPDATE {OUTBOX} SET created_at = %s WHERE id = %s", [(until, id) for id in ids])

    def _read(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        def read(connection: BaseDatabaseWrapper) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                return list(cursor.fetchall())

        return self._run(read)

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        def write(connection: BaseDatabaseWrapper) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(statement, rows)

        if rows:
            self._run(write)

    def _run(self, verb: Callable[[BaseDatabaseWrapper], T]) -> T:
        return errors.run(self._connection, verb)


def encode(job: Job, on_conflict: OnConflict | None = None) -> str:
    facts = job._asdict()
    return json.dumps(facts if on_conflict is None else facts | {"on_conflict": on_conflict})


def on_conflict_of(text: str) -> OnConflict | None:
    """Return what a job in an outbox row, which `decode` can read, does if it meets another with its unique key."""
    value = json.loads(text).get("on_conflict")
    return None if value is None else OnConflict(value)


def decode(text: str) -> Job:
    """Return the job in an outbox row; raise TypeError or ValueError when there is none."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    # A process of an older or newer version may have written it.
    return Job(**{name: values[name] for name in Job._fields if name in values})
