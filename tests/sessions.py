"""The sessions that the server of the store under test has with others, seen and ended from its side."""

from contextlib import suppress

from django.conf import settings
from django.db import OperationalError, connection

from mainspring.compat import task_backends
from mainspring.exceptions import BrokerUnavailable

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
    """The numbers of all sessions with this store but our own, or of those whose statement contains a text."""
    if settings.STORE == "redis":
        own, found = _redis("ID"), _redis("LIST")
        return [int(client["id"]) for client in found if client["id"] != str(own) and saying in client["cmd"]]
    with connection.cursor() as cursor:
        cursor.execute(OTHERS[connection.vendor])
        return [number for number, statement in cursor.fetchall() if saying in statement]


def end_others(saying=""):
    """End them, and return how many there were."""
    found = others(saying)
    for number in found:
        _end(number)
    return len(found)


def _redis(*words):
    """Ask on the connection that this thread's broker has too."""
    return task_backends["default"].broker._client.command(*(f"CLIENT {words[0]}", *words[1:]))


def _end(number):
    if settings.STORE == "redis":
        with suppress(BrokerUnavailable):  # it has ended by itself
            _redis("KILL", "ID", number)
        return
    with connection.cursor() as cursor:
        try:
            cursor.execute(END[connection.vendor], [number])
        except OperationalError as error:
            if error.args[0] != GONE:
                raise
