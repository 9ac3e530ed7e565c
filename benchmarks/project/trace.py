"""Notes every statement that this process sends to SQLite, which has no server that could."""

import os
from functools import partial

from django.db.backends.signals import connection_created


def follow(path):
    # Line by line in one write each, as all processes of a worker write into this file.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    connection_created.connect(partial(_follow_connection, file), weak=False)


def _follow_connection(file, connection, **kwargs):
    if connection.vendor == "sqlite":
        connection.connection.set_trace_callback(partial(_note, file))


def _note(file, statement):
    os.write(file, f"{os.getpid()} {' '.join(statement.split())}\n".encode())
