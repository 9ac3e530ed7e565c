"""The sessions that a database server has with others, seen and ended from the server's side."""

from django.db import OperationalError, connection

# What each does at the moment or, on PostgreSQL, did last.
OTHERS = {
    "postgresql": (
        "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ),
    "mysql": (
        "SELECT id, COALESCE(info, '') FROM information_schema.processlist"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    ),
}
END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
GONE = 1094  # unknown thread id


def others(saying=""):
    """The numbers of all sessions with this database but our own, or of those whose statement contains a text."""
    with connection.cursor() as cursor:
        cursor.execute(OTHERS[connection.vendor])
        return [number for number, statement in cursor.fetchall() if saying in statement]


def end_others(saying=""):
    """End them, and return how many there were."""
    found = others(saying)
    for number in found:
        _end(number)
    return len(found)


def _end(number):
    with connection.cursor() as cursor:
        try:
            cursor.execute(END[connection.vendor], [number])
        except OperationalError as error:
            if error.args[0] != GONE:
                raise
