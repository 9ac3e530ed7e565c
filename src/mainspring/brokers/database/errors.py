"""What an error of the database means to the caller of a broker."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from mainspring.brokers.database.transactions import in_transaction
from mainspring.exceptions import BrokerRefused, BrokerUnavailable, MainspringError

T = TypeVar("T")

TRIES = 10
# Deadlock and serialization failure of PostgreSQL; deadlock of MySQL.
DEADLOCKS = {"40P01", "40001", 1213}
# undefined_table and undefined_column of PostgreSQL; unknown table and column of MySQL.
MISSING = {"42P01", "42703", 1146, 1054}
MISSING_IN_SQLITE = ("no such table", "no such column", "has no column named")
# A text or packet that MySQL cannot store comes as OperationalError, which elsewhere means "try again".
REFUSED = {1153, 1366}


def run(connection: BaseDatabaseWrapper, verb: Callable[..., T], *arguments: Any) -> T:
    """
    Return `verb(connection, *arguments)`, tried again where the database chose it as the victim of a deadlock.

    Inside a caller's transaction nothing is tried again: the transaction is gone, and only the caller can repeat it.
    """
    # Asked before: a connection that breaks while Django ends our own transaction looks like one after
    # set_autocommit(False).
    is_callers = in_transaction(connection)
    for last_try in range(1, TRIES + 1):
        try:
            return verb(connection, *arguments)
        except TransactionManagementError:
            raise  # an earlier error has ended the caller's transaction: not the store's fault
        except (DatabaseError, InterfaceError, UnicodeError, OverflowError) as error:
            if _codes(error) & DEADLOCKS and last_try < TRIES and not is_callers:
                continue
            if not is_callers:
                _close_if_lost(connection)
            raise translated(connection, error) from error
    raise AssertionError("unreachable")


def translated(connection: BaseDatabaseWrapper, error: Exception) -> MainspringError:
    """Return the broker's error for one of the database or of its driver."""
    place = f"DATABASES[{connection.alias!r}]"
    if _codes(error) & MISSING or any(words in str(error) for words in MISSING_IN_SQLITE):
        return BrokerUnavailable(
            f"{place}: the tables of Mainspring are missing or old; run `manage.py migrate"
            f" --database {connection.alias}`. The database said: {error}"
        )
    # Drivers raise UnicodeError and OverflowError themselves for what cannot even be sent.
    if isinstance(error, (DataError, IntegrityError, UnicodeError, OverflowError)) or _codes(error) & REFUSED:
        return BrokerRefused(f"{place} refused a value: {error}")
    return BrokerUnavailable(f"{place}: {error}")


def _codes(error: Exception) -> set[Any]:
    """Return PostgreSQL's SQLSTATE or MySQL's number; a driver may know both."""
    names = ("sqlstate", "pgcode")
    return {*error.args[:1], *(getattr(error.__cause__, name, None) for name in names)}


def _close_if_lost(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that is lost, so that the next call opens a new one."""
    if connection.connection is None:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        with suppress(DatabaseError, InterfaceError):
            connection.close()
