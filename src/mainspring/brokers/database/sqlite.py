"""SQLite: one writer at a time, so a claim needs no row locks."""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import transaction

from mainspring.brokers.database import errors
from mainspring.brokers.database.listeners import own_connection
from mainspring.brokers.database.store import Connection, Span, Store, _jobs
from mainspring.brokers.database.tables import JOB
from mainspring.exceptions import NotSentYet
from mainspring.job import Job


class SQLite(Store):
    is_in = "IN (SELECT value FROM json_each(%s))"
    not_in = "NOT IN (SELECT value FROM json_each(%s))"

    def listed(self, values: Collection[str]) -> Any:
        return json.dumps(list(values))

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Take the write lock at the start: a reader who begins to write is refused without waiting."""
        if connection.in_atomic_block:
            with transaction.atomic(using=connection.alias):
                yield
            return
        connection.ensure_connection()
        usual = connection.transaction_mode
        connection.transaction_mode = "IMMEDIATE"
        try:
            with transaction.atomic(using=connection.alias):
                connection.transaction_mode = usual
                yield
        finally:
            connection.transaction_mode = usual

    def claim(
        self,
        connection: Connection,
        spans: Sequence[Span],
        limit: int,
        skip_tasks: Collection[str],
        worker_id: str,
        token: int,
        at: int,
    ) -> list[Job]:
        picked = _picked(len(spans), self.not_in)
        skipped = self.listed(skip_tasks)
        of_spans = [value for span in spans for value in (*span, skipped, limit)]
        with connection.cursor() as cursor:
            # A look takes no lock, so that idle workers are in nobody's way.
            cursor.execute(picked, [*of_spans, 1])
            if not cursor.fetchall():
                return []
            cursor.execute(
                f"UPDATE {JOB} SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s"
                f" WHERE rowid IN ({picked}) RETURNING {self.job_columns}",
                [token, worker_id, at, *of_spans, limit],
            )
            return _jobs(cursor)

    def moment(self, connection: Connection) -> int:
        return time.time_ns() // 1000

    can_wake = False

    def listen(self, connection: Connection) -> "ChangeListener":
        return ChangeListener(own_connection(connection))

    def listen_for_end(self, connection: Connection, id: str, at: int, expires_at: int) -> "ChangeWait":
        if connection.in_atomic_block:
            raise NotSentYet(
                f"A transaction on SQLite sees nothing that others write, so the end of job {id} would never come;"
                " wait for it after the transaction."
            )
        return ChangeWait(connection)


class ChangeListener:
    """Asks SQLite whether anybody has written anything, which takes a few microseconds."""

    interval = 0.005

    def __init__(self, own: Connection) -> None:
        self._own = own
        self._version = errors.run(own, _data_version)

    def fileno(self) -> None:
        return None

    def has_news(self) -> bool:
        before, self._version = self._version, errors.run(self._own, _data_version)
        return self._version != before

    def close(self) -> None:
        # Not `self._own.close()`, which Django makes do nothing for databases in memory.
        if self._own.connection is not None:
            self._own.connection.close()
            self._own.connection = None


class ChangeWait:
    """Waits until somebody else has written anything."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._version = _data_version(connection)

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._version == (version := _data_version(self.connection)) and time.monotonic() < deadline:
            time.sleep(ChangeListener.interval)
        self._version = version

    def close(self) -> None:
        """The connection is the caller's."""


def _data_version(connection: Connection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        # To fetch all ends the statement; an open one would keep the write-ahead log from being emptied.
        return int(cursor.fetchall()[0][0])


@cache
def _picked(spans: int, not_in: str) -> str:
    """Return a query for the rows of the jobs first in line over this number of spans."""
    # Only a subquery of its own keeps its ORDER BY and LIMIT in a UNION; each is one walk along the index.
    of_span = (
        f'SELECT * FROM (SELECT rowid, "rank" FROM {JOB} WHERE queue_name = %s AND "rank" >= %s AND "rank" < %s'
        f" AND state = 'ready' AND task_path {not_in} ORDER BY \"rank\" LIMIT %s)"
    )
    return f'SELECT rowid FROM ({" UNION ALL ".join([of_span] * spans)}) ORDER BY "rank" LIMIT %s'
