"""Database connections of the threads that run tasks: kept from job to job, but never handed on dirty."""

import logging

from django.db import connections, reset_queries

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
            if connection.in_atomic_block:
                logger.warning("A task left the connection %r inside a transaction; it is closed.", connection.alias)
                _close(connection)
            else:
                connection.close_if_unusable_or_obsolete()
        except Exception:
            logger.exception("The connection %r could not be tidied; it is dropped.", connection.alias)
            connection.connection = None
    reset_queries()


def _close(connection) -> None:  # type: ignore[no-untyped-def] # any BaseDatabaseWrapper
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.close()
