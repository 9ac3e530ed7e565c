"""How a caller waits for the end of one job."""

import time
from contextlib import suppress
from itertools import chain, repeat
from typing import Protocol

from django.db import DatabaseError, InterfaceError, OperationalError

from mainspring.brokers.database.store import Connection, Store
from mainspring.brokers.database.tables import WAITER
from mainspring.brokers.database.transactions import in_transaction
from mainspring.brokers.listening import BACKSTOP
from mainspring.exceptions import NotSentYet
from mainspring.job import ENDS, Job, new_id

# Whoever ends the job between our look and our waiting may not have seen that we wait.
PAUSES = (0.05, 0.5)


class EndListener(Protocol):
    """Waits for news of one job; `connection` is the one that can see them."""

    connection: Connection

    def wait(self, seconds: float) -> None: ...
    def is_late_wake_up(self, error: DatabaseError) -> bool: ...
    def close(self) -> None: ...


class AnnouncedWait:
    """A wait on a connection of its own; its row in the table of waiters is why the end of the job is told."""

    def __init__(self, own: Connection, job_id: str, at: int, expires_at: int) -> None:
        self.connection = own
        self.job_id = job_id
        self._id = new_id()
        with own.cursor() as cursor:
            # Left by those who died while they waited.
            cursor.execute(f"DELETE FROM {WAITER} WHERE expires_at < %s", [at])
            cursor.execute(
                f"INSERT INTO {WAITER} (id, job_id, expires_at) VALUES (%s, %s, %s)", [self._id, job_id, expires_at]
            )

    def is_late_wake_up(self, error: DatabaseError) -> bool:
        """Did a wake-up that was meant for `wait` hit another statement?"""
        return False

    def close(self) -> None:
        with suppress(DatabaseError, InterfaceError), self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {WAITER} WHERE id = %s", [self._id])
        # Apart: a wake-up that comes too late for the wait can cut the statement above short.
        with suppress(DatabaseError, InterfaceError):
            self.connection.close()


class PolledWait:
    """A wait that asks again and again, on a connection of its own or, where `is_own` is False, on the caller's."""

    LONGEST = 0.5

    def __init__(self, connection: Connection, *, is_own: bool) -> None:
        self.connection = connection
        self._is_own = is_own

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, self.LONGEST))

    def is_late_wake_up(self, error: DatabaseError) -> bool:
        return False

    def close(self) -> None:
        if self._is_own:
            with suppress(DatabaseError, InterfaceError):
                self.connection.close()


def wait_for(connection: Connection, store: Store, id: str, deadline: float, at: int, expires_at: int) -> Job | None:
    """Return the job when it has ended, or as it is at `deadline` on the monotonic clock."""
    listener = _listen(connection, store, id, at, expires_at)
    try:
        for pause in chain(PAUSES, repeat(BACKSTOP)):
            job = _look(store, listener, id)
            left = deadline - time.monotonic()
            if job is None or job.state in ENDS or left <= 0:
                break
            listener.wait(min(pause, left))
    finally:
        listener.close()
    if job is None and store.get(connection, id):
        raise NotSentYet(
            f"Job {id} was enqueued in a transaction that is still open, so nobody can run it yet;"
            " wait for it after the transaction."
        )
    return job


def _listen(connection: Connection, store: Store, id: str, at: int, expires_at: int) -> EndListener:
    try:
        return store.listen_for_end(connection, id, at, expires_at)
    except (OperationalError, InterfaceError):
        if in_transaction(connection):  # which may never see the end
            raise
        # A server that has no connection left for us still answers those it has; one that is away says so at once.
        return PolledWait(connection, is_own=False)


def _look(store: Store, listener: EndListener, id: str) -> Job | None:
    try:
        return store.get(listener.connection, id)
    except DatabaseError as error:
        if not listener.is_late_wake_up(error):
            raise
        return store.get(listener.connection, id)
