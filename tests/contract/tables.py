"""Our tables in the database under test, and its like."""

from django.conf import settings
from django.db import connections

from tests import servers


def names(using):
    """Return the names of Mainspring's tables."""
    return [name for name in connections[using].introspection.table_names() if name.startswith("mainspring_")]


def empty(using):
    """Delete all rows of Mainspring's tables."""
    with connections[using].cursor() as cursor:
        for name in names(using):
            cursor.execute(f"DELETE FROM {name}")


def empty_store():
    """Delete every job in the store under test."""
    if settings.STORE != "redis":
        return empty("default")
    with servers.redis_client(settings.REDIS_URL) as client:
        client.flushall()
