"""Whose transaction a statement would be part of."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Is a transaction open that the caller will end: a block of Django's, or, after set_autocommit(False), any?"""
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def is_only_of_a_test(connection: BaseDatabaseWrapper) -> bool:
    """Has nobody begun the transaction but Django's TestCase, in which nothing is ever committed?"""
    blocks: list[Any] = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)
