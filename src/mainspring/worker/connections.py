"""Database connections of the threads that run tasks: kept from job to job, but never handed on dirty."""

import logging
from sqlite3 import ProgrammingError
from typing import Any

from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

IDLE = 0  # libpq's number for a connection that is in no transaction

logger = logging.getLogger("mainspring.worker")


def tidy_connections() -> None:
    """
    Leave this thread's connections ready for the next job.

    They are kept whatever CONN_MAX_AGE says (a new one costs about 5 ms), but a connection that is broken, or that a
    task left inside a transaction, is closed.
    """
    for connection in connections.all(initialized_only=True):
        connection.close_at = None
        try:
            if connection.in_atomic_block or _is_in_transaction(connection):
                logger.warning("A task left the connection %r inside a transaction; it is closed.", connection.alias)
                _close(connection)
            elif _is_closed(connection.connection):
                _close(connection)
            else:
                connection.close_if_unusable_or_obsolete()
        except Exception:
            logger.exception("The connection %r could not be tidied; it is dropped.", connection.alias)
            connection.connection = None
    reset_queries()


def drop_connections() -> None:
    """Close this thread's connections, whatever state an interruption has left them in."""
    for connection in connections.all(initialized_only=True):
        try:
            _close(connection)
        except Exception:
            logger.exception("The connection %r could not be closed; it is dropped.", connection.alias)
            connection.connection = None


def _is_closed(raw: Any) -> bool:
    """Has a task closed the driver's connection behind Django's back? This asks nobody but the driver."""
    try:
        getattr(raw, "total_changes", None)  # SQLite's only sign
    except ProgrammingError:
        return True
    return bool(getattr(raw, "closed", False)) or not getattr(raw, "open", True)


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Has a task begun a transaction by a statement of its own, which Django knows nothing of?"""
    raw = connection.connection
    if raw is None or not connection.autocommit or _is_closed(raw):
        return False
    if hasattr(raw, "in_transaction"):  # SQLite
        return bool(raw.in_transaction)
    return hasattr(raw, "pgconn") and raw.pgconn.transaction_status != IDLE


def _close(connection: Any) -> None:
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.close()
