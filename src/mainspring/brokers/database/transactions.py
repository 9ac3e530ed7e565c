"""Whose transaction a statement would be part of."""

from django.db.backends.base.base import BaseDatabaseWrapper


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Is a transaction open that the caller will end: a block of Django's, or, after set_autocommit(False), any?"""
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)
