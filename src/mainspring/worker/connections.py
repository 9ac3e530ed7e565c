"""Database connections of the threads that run tasks: kept from job to job, but never handed on dirty."""

import logging
import math
import os
import re
import threading
import time
from sqlite3 import ProgrammingError
from typing import Any
from weakref import WeakSet

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from mainspring import forks

IDLE = 0  # libpq's number for a connection that is in no transaction
TRUSTED = 0.1  # seconds without use after which a connection is tried before its next use

BEGIN = re.compile(r"\s*(BEGIN|START\s+TRANSACTION|SET\s+(SESSION\s+)?AUTOCOMMIT\s*=\s*(0|OFF))\b", re.I)
END = re.compile(r"\s*(COMMIT|ROLLBACK(?!\s+(WORK\s+)?TO)|SET\s+(SESSION\s+)?AUTOCOMMIT\s*=\s*(1|ON))\b", re.I)

logger = logging.getLogger("mainspring.worker")

_here = threading.local()
_begun: WeakSet[Any] = WeakSet()  # the drivers' connections that a statement has put into a transaction


def _note_thread(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection in connections.all(initialized_only=True):  # not one that a listener keeps for itself
        _used_here()[connection.alias] = connection


def _used_here() -> dict[str, BaseDatabaseWrapper]:
    """
    Return the connections of this thread that have been opened in it, by their alias.

    Django's `connections.all(initialized_only=True)` tells the same in 2 µs, several times for each job.
    """
    used: dict[str, BaseDatabaseWrapper] = _here.__dict__.setdefault("used", {})
    return used


connection_created.connect(_note_thread)


def keep_to_this_process() -> None:
    """
    Let nothing that a task starts have this process's connections, whichever thread of ours has opened them.

    Their server would not hear of our death as long as a program or a fork holds their sockets, nor let go of what we
    had locked.
    """
    connection_created.connect(_note_connection)
    os.register_at_fork(after_in_child=_leave_connections_to_the_parent)


def _note_connection(connection: Any, **kwargs: Any) -> None:
    raw = connection.connection
    if connection.vendor == "mysql" and _watch_transactions not in connection.execute_wrappers:
        connection.execute_wrappers.append(_watch_transactions)
    if hasattr(raw, "fileno"):
        forks.note(raw)


def _leave_connections_to_the_parent() -> None:
    forks.leave_to_the_parent()
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.connection = None  # the fork opens its own when it needs one


def try_idle_connections() -> None:
    """
    Have this thread's connections tried at their next use, by Django's health check, if nobody has used them lately.

    The server may have hung up meanwhile, and the next job must not fail of that. A thread in use goes without: to try
    takes a round trip for each job.
    """
    has_rested = time.monotonic() - getattr(_here, "since", -math.inf) >= TRUSTED
    for connection in _used_here().values():
        connection.health_check_enabled = has_rested  # type: ignore[attr-defined] # the stubs lack it


def tidy_connections() -> None:
    """
    Leave this thread's connections ready for the next job.

    They are kept whatever CONN_MAX_AGE says (a new one costs about 5 ms), but a connection that is broken, or that a
    task closed behind Django's back or left inside a transaction, is closed.
    """
    for connection in _used_here().values():
        connection.close_at = None
        connection.queries_log.clear()
        try:
            if connection.in_atomic_block or not _is_at_rest(connection):
                logger.warning("A task left the connection %r in a transaction, or closed it.", connection.alias)
                _close(connection)
            elif connection.settings_dict["OPTIONS"].get("pool"):
                connection.close()  # back into the pool, or a few threads keep all of it
            else:
                connection.close_if_unusable_or_obsolete()
        except Exception:
            logger.exception("The connection %r could not be tidied; it is dropped.", connection.alias)
            connection.connection = None
    _here.since = time.monotonic()


def drop_broken_connections() -> None:
    """Close those of this thread's connections that do not answer after an error; others use them meanwhile."""
    for connection in _used_here().values():
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


def drop_connections() -> None:
    """Close this thread's connections, whatever state an interruption has left them in."""
    for connection in _used_here().values():
        try:
            _close(connection)
        except Exception:
            logger.exception("The connection %r could not be closed; it is dropped.", connection.alias)
            connection.connection = None


def _is_at_rest(connection: BaseDatabaseWrapper) -> bool:
    """Is the driver's connection open and outside of a transaction? Only the driver is asked, not the server."""
    raw = connection.connection
    return raw is None or not connection.autocommit or AT_REST.get(connection.vendor, bool)(raw)


def _is_sqlite_at_rest(raw: Any) -> bool:
    try:
        return not raw.in_transaction
    except ProgrammingError:  # it has been closed
        return False


def _is_postgresql_at_rest(raw: Any) -> bool:
    status = raw.pgconn.transaction_status if hasattr(raw, "pgconn") else raw.get_transaction_status()
    return bool(status == IDLE)


def _is_mysql_at_rest(raw: Any) -> bool:
    return bool(raw.open) and raw not in _begun


def _watch_transactions(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
    """Note which connections a task has put into a transaction by a statement: MySQL's driver does not tell."""
    result = execute(sql, params, many, context)
    if BEGIN.match(str(sql)):
        _begun.add(context["connection"].connection)
    elif END.match(str(sql)):
        _begun.discard(context["connection"].connection)
    return result


AT_REST = {"sqlite": _is_sqlite_at_rest, "postgresql": _is_postgresql_at_rest, "mysql": _is_mysql_at_rest}


def _close(connection: Any) -> None:
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.close()
