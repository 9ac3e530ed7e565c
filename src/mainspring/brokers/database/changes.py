"""How a worker hears of work on SQLite: whoever writes tells nobody, but that something was written can be seen."""

import time
from typing import Any

from mainspring.brokers.database import errors
from mainspring.brokers.database.store import NEXT_DUE, QUEUES, Connection
from mainspring.brokers.database.tables import JOB
from mainspring.brokers.database.write_watch import WriteWatch

POLL = 0.010  # seconds between two looks where nobody tells of writes
SELDOM = 0.25  # where the kernel does
# A write is told of before its commit can be seen, which may have to wait for the disk: look again and again, after
# pauses that double.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.064
# Between two looks at least, or a database to which others write all the time would keep us busy.
REST = 0.020

WORK = f"""
    WITH RECURSIVE queue (name) AS ({QUEUES})
    SELECT {NEXT_DUE}, EXISTS (
        SELECT 1 FROM queue
        WHERE EXISTS (SELECT 1 FROM {JOB} WHERE queue_name = queue.name AND "rank" IS NOT NULL AND state = 'ready')
    )
"""


class ChangeListener:
    """
    Looks for work when somebody has written to the database.

    The kernel tells of writes where it can; elsewhere SQLite is asked every POLL seconds, which takes microseconds.
    """

    hears_calls = False

    def __init__(self, own: Connection) -> None:
        self._own = own
        self._files = errors.run(own, _files)
        self._watch = _watch(self._files)
        self._is_told = self._watch is not None
        self._version: int | None = None  # as if something had been written before anybody listened
        self._next_due: int | None = None
        self._pause = SHORTEST_PAUSE
        self._look_at = self._rests_until = time.monotonic()

    @property
    def interval(self) -> float:
        return max(0.0, self._look_at - time.monotonic())

    def fileno(self) -> int | None:
        return None if self._watch is None else self._watch.fileno()

    def has_news(self) -> bool:
        now = time.monotonic()
        if self._watch is not None and self._watch.take_in():
            if self._pause > LONGEST_PAUSE:
                self._pause = SHORTEST_PAUSE
            self._look_at = min(self._look_at, max(now, self._rests_until))
        if now < self._look_at:
            return False
        if not (self._has_changed() or self._has_changed_before_the_next_write()):
            pause = self._next_pause()
            # One long transaction writes again and again: not every write is worth a look.
            self._look_at, self._rests_until = now + pause, now + min(pause, REST)
            return False
        self._pause = SHORTEST_PAUSE
        self._look_at = self._rests_until = now + REST
        return self._has_work()

    def close(self) -> None:
        # Not `self._own.close()`, which Django makes do nothing for databases in memory.
        if self._own.connection is not None:
            self._own.connection.close()
            self._own.connection = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _has_changed(self) -> bool:
        before, self._version = self._version, errors.run(self._own, data_version)
        return self._version != before

    def _has_changed_before_the_next_write(self) -> bool:
        """Have the next write told, and look once more, as there may have been one just before."""
        if self._watch is None or not self._is_told:
            return False
        try:
            self._watch.arm(self._files)
        except OSError:  # too many files are watched on this machine
            self._is_told = False
            return False
        return self._has_changed()

    def _next_pause(self) -> float:
        if not self._is_told:
            return POLL
        pause = self._pause
        self._pause *= 2
        return pause if pause <= LONGEST_PAUSE else SELDOM

    def _has_work(self) -> bool:
        """Is anything ready now, or does something fall due at another moment than was seen before?"""
        before, (self._next_due, is_ready) = self._next_due, errors.run(self._own, _work)
        return bool(is_ready) or self._next_due not in (before, None)


def data_version(connection: Connection) -> int:
    """Return a number that changes with every commit of another connection."""
    connection.ensure_connection()
    # Without Django's cursor, which would double what it takes.
    with connection.wrap_database_errors:
        # To fetch all ends the statement; an open one would keep the write-ahead log from being emptied.
        return int(connection.connection.execute("PRAGMA data_version").fetchall()[0][0])


def _work(connection: Any) -> tuple[int | None, int]:
    with connection.wrap_database_errors:
        ((next_due, is_ready),) = connection.connection.execute(WORK).fetchall()
        return next_due, is_ready


def _files(connection: Any) -> list[str]:
    """Return the files that a commit writes to, one of them by the journal's mode; none for one in memory."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        names = [file for _, name, file in connection.connection.execute("PRAGMA database_list") if name == "main"]
    return [path for name in names if name for path in (name, f"{name}-wal")]


def _watch(files: list[str]) -> WriteWatch | None:
    """Return a watch over these files, None where the kernel cannot tell."""
    if not files:
        return None
    try:
        watch = WriteWatch()
    except OSError:
        return None
    try:
        watch.arm(files)
    except OSError:
        watch.close()
        return None
    return watch
