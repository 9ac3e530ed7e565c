"""SQLite: one writer at a time, so a claim needs no row locks."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from django.db import DatabaseError, transaction

from mainspring.brokers.database import reaches
from mainspring.brokers.database.changes import POLL, ChangeListener, data_version
from mainspring.brokers.database.listeners import own_connection
from mainspring.brokers.database.store import FREED_KEY, Connection, Store, Wish, as_jobs
from mainspring.brokers.database.tables import FINISHED_COLUMNS, JOB, JOB_COLUMNS, TEXT_COLUMNS
from mainspring.brokers.database.transactions import in_transaction
from mainspring.exceptions import NotSentYet
from mainspring.job import Job


def _typed(columns: Iterable[str]) -> str:
    """Return columns to select: a column of SQLite holds whatever it was given, and nobody calculates with a text."""
    return ", ".join(f'CAST("{name}" AS {"TEXT" if name in TEXT_COLUMNS else "INTEGER"})' for name in columns)


# SQLite has no LATERAL; the correlated IN walks the index once for each span all the same.
PICK = f"""
    SELECT job.rowid FROM json_each(%s) AS span CROSS JOIN {JOB} AS job ON job.rowid IN (
        SELECT rowid FROM {JOB}
        WHERE queue_name = json_extract(span.value, '$[0]')
            AND "rank" >= json_extract(span.value, '$[1]') AND "rank" < json_extract(span.value, '$[2]')
            AND state = 'ready' AND task_path NOT IN (SELECT value FROM json_each(%s))
        ORDER BY "rank" LIMIT %s
    )
    ORDER BY job."rank" LIMIT %s
"""
CLAIM = f"""
    UPDATE {JOB} SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s, holds_key = {FREED_KEY}
    WHERE rowid IN ({PICK})
    RETURNING {_typed(JOB_COLUMNS)}
"""


FORGIVING = partial(str, encoding="utf-8", errors="replace")
T = TypeVar("T")


class SQLite(Store):
    is_in = "IN (SELECT value FROM json_each(%s))"
    not_in = "NOT IN (SELECT value FROM json_each(%s))"

    def __init__(self) -> None:
        super().__init__()
        self.job_columns = _typed(JOB_COLUMNS)
        columns = [_typed([name]) if name in FINISHED_COLUMNS else "NULL" for name in JOB_COLUMNS]
        self.finished_as_job = ", ".join(columns)

    def listed(self, values: Collection[str]) -> Any:
        return json.dumps(list(values))

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        """Take the write lock at the start: a reader who begins to write is refused without waiting."""
        connection.ensure_connection()
        if in_transaction(connection):
            _begin_by_hand(connection)
            with transaction.atomic(using=connection.alias):
                yield
            return
        usual = connection.transaction_mode
        connection.transaction_mode = "IMMEDIATE"
        try:
            with transaction.atomic(using=connection.alias):
                connection.transaction_mode = usual
                yield
        finally:
            connection.transaction_mode = usual

    def run(self, connection: Any, verb: Callable[..., T], *arguments: Any) -> T:
        """Read texts that are no UTF-8 too: SQLite stores them, and one would spoil the reading of all others."""
        connection.ensure_connection()
        raw = connection.connection
        usual = raw.text_factory
        raw.text_factory = FORGIVING
        try:
            return verb(connection, *arguments)
        finally:
            raw.text_factory = str if usual is FORGIVING else usual

    def claim(self, connection: Connection, wish: Wish) -> list[Job]:
        with connection.cursor() as cursor:
            # A look takes no lock, so that idle workers are in nobody's way.
            cursor.execute(PICK, [*self._where(wish), 1, 1])
            is_any = bool(cursor.fetchall())
        return super().claim(connection, wish) if is_any else []

    def take(self, cursor: Any, wish: Wish) -> list[Job]:
        taken = [wish.token, wish.worker_id, wish.at]
        cursor.execute(CLAIM, [*taken, *self._where(wish), wish.limit, wish.limit])
        jobs = as_jobs(cursor)
        reaches.note(cursor, self, wish.worker_id, jobs)
        return jobs

    def _where(self, wish: Wish) -> list[str]:
        return [json.dumps(wish.spans), self.listed(wish.skip_tasks)]

    def moment(self, connection: Connection) -> int:
        return time.time_ns() // 1000

    can_lock_readers_out = True  # in memory, or without a write-ahead log
    has_clock = False
    now = "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"

    can_write_beside = False  # there is one write lock

    def is_busy(self, error: DatabaseError) -> bool:
        return "is locked" in str(error)

    can_wake = False
    can_always_beat = False  # there is one write lock, and a task may hold it

    def lifeline_folder(self, connection: Any) -> Path | None:
        # Beside the file, where all that use it can look, in whatever container.
        name = str(connection.settings_dict["NAME"])
        return None if connection.is_in_memory_db() or name.startswith("file:") else Path(f"{name}-workers").absolute()

    def limit_waits(self, connection: Any, seconds: float) -> None:
        self.longest_wait = seconds
        options = connection.settings_dict["OPTIONS"]
        options["timeout"] = min(seconds, options.get("timeout", seconds))
        connection.close()

    def listen(self, connection: Connection) -> ChangeListener:
        return ChangeListener(own_connection(connection))

    def listen_for_end(self, connection: Connection, id: str, at: int, expires_at: int) -> "ChangeWait":
        if connection.in_atomic_block:
            raise NotSentYet(
                f"A transaction on SQLite sees nothing that others write, so the end of job {id} would never come;"
                " wait for it after the transaction."
            )
        return ChangeWait(connection)


class ChangeWait:
    """Waits until somebody else has written anything."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._version = data_version(connection)

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._version == (version := data_version(self.connection)) and time.monotonic() < deadline:
            time.sleep(POLL)
        self._version = version

    def is_late_wake_up(self, error: DatabaseError) -> bool:
        return False

    def close(self) -> None:
        """The connection is the caller's."""


def _begin_by_hand(connection: Any) -> None:
    """Begin the transaction of a caller who commits by hand: the end of a savepoint outside of any would commit."""
    if not connection.autocommit and not connection.connection.in_transaction:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
