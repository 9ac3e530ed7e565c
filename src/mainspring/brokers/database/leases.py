"""Leases in a database: one row for each, and one for each name, which holds its last token and is locked to take."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.transaction import TransactionManagementError

from mainspring.brokers.database import errors
from mainspring.brokers.database.listeners import own_connection
from mainspring.brokers.database.tables import FENCE, LEASE
from mainspring.brokers.database.transactions import in_transaction, is_only_of_a_test
from mainspring.brokers.leases import KEPT, LEASE_TIME, Lease, next_token

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Connection, Store

AT_ONCE = 200  # leases that one statement renews; SQLite takes no more than 1,000 conditions
FORGOTTEN_AT_ONCE = 100  # names, whenever a new one comes

# Each verb is given the microseconds by which a test has moved the clock. All moments are the database's own, read no
# later than what they are compared with: a lease may be over sooner than it says, and is never taken too early.


@contextmanager
def apart(connection: "Connection", store: "Store", *, to_take: bool) -> Iterator["Connection"]:
    """
    Yield a connection on which nothing is part of the caller's transaction, where others would not see it.

    SQLite lets nobody else write while that is open. There a lease cannot be taken in one, and ends with it.
    """
    if not in_transaction(connection):
        yield connection
    elif store.can_write_beside:
        own = errors.run(connection, own_connection)
        try:
            yield own
        finally:
            with suppress(DatabaseError, InterfaceError):
                own.close()
    elif to_take and not is_only_of_a_test(connection):
        raise TransactionManagementError(
            f"DATABASES[{connection.alias!r}]: on SQLite no lock can be taken inside a transaction, as nobody else can"
            " see it, or write, before that ends. Take the lock first and begin the transaction inside it."
        )
    else:
        yield connection


def take(connection: "Connection", store: "Store", name: str, slots: int, moved: int) -> int | None:
    if not _has_room(connection, store, name, slots, moved):
        return None  # whoever waits asks again and again, and must cost no more than a look
    try:
        with _transaction(connection, store), connection.cursor() as cursor:
            return _take(cursor, store, name, slots, moved)
    except OperationalError as error:
        if not store.is_busy(error):
            raise
        return None  # somebody else writes, and so nobody takes anything now


def renew(connection: "Connection", store: "Store", leases: Collection[Lease], moved: int) -> set[Lease]:
    kept: set[Lease] = set()
    left = iter(sorted(leases))
    while some := list(islice(left, AT_ONCE)):
        kept |= _renew(connection, store, some, moved)
    return kept


def drop(connection: "Connection", lease: Lease) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {LEASE} WHERE name = %s AND token = %s", lease)
        return bool(cursor.rowcount)


def _has_room(connection: "Connection", store: "Store", name: str, slots: int, moved: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM {LEASE} WHERE name = %s AND expires_at > {store.now} + %s", [name, moved]
        )
        return bool(cursor.fetchone()[0] < slots)


@contextmanager
def _transaction(connection: "Connection", store: "Store") -> Iterator[None]:
    """Begin a transaction on this very connection; Django's blocks are on that which its alias has in this thread."""
    if connection is connections[connection.alias]:
        with store.transaction(connection):
            yield
        return
    connection.set_autocommit(False)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    finally:
        connection.set_autocommit(True)


def _take(cursor: Any, store: "Store", name: str, slots: int, moved: int) -> int | None:
    locked = _lock(cursor, store, name, moved)
    if locked is None:
        return None
    last, now = locked
    # Those that are over go first: one that is renewed at this moment is there still, and one that is gone is lost.
    cursor.execute(f"DELETE FROM {LEASE} WHERE name = %s AND expires_at <= %s", [name, now])
    cursor.execute(f"SELECT COUNT(*) FROM {LEASE} WHERE name = %s", [name])
    if cursor.fetchone()[0] >= slots:
        return None
    token = next_token(last, now)
    cursor.execute(f"UPDATE {FENCE} SET token = %s WHERE name = %s", [token, name])
    cursor.execute(
        f"INSERT INTO {LEASE} (name, token, expires_at) VALUES (%s, %s, %s)", [name, token, now + LEASE_TIME]
    )
    return token


def _lock(cursor: Any, store: "Store", name: str, moved: int) -> tuple[int, int] | None:
    """Lock a name; return its last token and the moment, or None while somebody else has locked it."""
    look = f"SELECT token, {store.now} FROM {FENCE} WHERE name = %s"
    # Nobody waits for a row: whoever has locked it may have been suspended.
    cursor.execute(f"{look} {store.skip_locked}", [name])
    found = cursor.fetchone()
    if found is None:
        cursor.execute(look, [name])
        if cursor.fetchone() is not None:
            return None
        cursor.execute(f"INSERT INTO {FENCE} (name, token) VALUES (%s, 0) {store.on_known_name_keep}", [name])
        cursor.execute(f"{look} {store.skip_locked}", [name])
        found = cursor.fetchone()
        if found is not None:
            _forget_old(cursor, store, name, found[1] + moved)
    return None if found is None else (found[0], found[1] + moved)


def _forget_old(cursor: Any, store: "Store", but: str, now: int) -> None:
    """Forget names of long ago under which nobody holds anything, all but one; there may be one for each job."""
    cursor.execute(
        f"SELECT name FROM {FENCE} WHERE token < %s AND name <> %s"
        f" AND NOT EXISTS (SELECT 1 FROM {LEASE} WHERE {LEASE}.name = {FENCE}.name AND expires_at > %s)"
        f" ORDER BY token LIMIT {FORGOTTEN_AT_ONCE} {store.skip_locked}",
        [now - KEPT, but, now],
    )
    if names := [name for (name,) in cursor.fetchall()]:
        for table in (LEASE, FENCE):
            cursor.execute(f"DELETE FROM {table} WHERE name {store.is_in}", [store.listed(names)])


def _renew(connection: "Connection", store: "Store", leases: Sequence[Lease], moved: int) -> set[Lease]:
    these = " OR ".join(["name = %s AND token = %s"] * len(leases))
    words = [word for lease in leases for word in lease]
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {LEASE} SET expires_at = {store.now} + %s WHERE {these}", [moved + LEASE_TIME, *words])
        if cursor.rowcount == len(leases):
            return set(leases)
        cursor.execute(f"SELECT name, token FROM {LEASE} WHERE {these}", words)
        return {Lease(*row) for row in cursor.fetchall()}
