"""Our tables in the database under test."""

from django.db import connections


def names(using):
    """Return the names of Mainspring's tables."""
    return [name for name in connections[using].introspection.table_names() if name.startswith("mainspring_")]


def empty(using):
    """Delete all rows of Mainspring's tables."""
    with connections[using].cursor() as cursor:
        for name in names(using):
            cursor.execute(f"DELETE FROM {name}")
