"""What a database is sent by whomever, as it tells itself: a log of the server, or a trace of every connection."""

import os
import re
import threading
from contextlib import contextmanager

ENVIRONMENT = "MAINSPRING_TEST_STATEMENTS"  # the file of the trace on SQLite, for child processes
LOOK = "PRAGMA data_version"  # reads no table


def trace(path):
    """Have every connection to SQLite that this process opens write down what it is sent."""
    from django.db.backends.signals import connection_created

    def on_connect(connection, **_):
        if connection.vendor == "sqlite":
            connection.connection.set_trace_callback(lambda text: _append(path, text))

    connection_created.connect(on_connect, weak=False)


def _append(path, text):
    if text != LOOK:
        with open(path, "a") as file:
            file.write(" ".join(text.split()) + "\n")


@contextmanager
def recorded(server, folder):
    """Record statements during the block; yield a function that returns them, and an environment for processes."""
    record = (
        _on_sqlite
        if server is None
        else {"postgresql": _on_postgresql, "mariadb": _on_mariadb, "redis": _on_redis}[server.vendor]
    )
    with record(server, folder) as (file, pattern, environment):
        begin = file.stat().st_size
        yield lambda: _found(file, begin, pattern), environment


def _found(file, begin, pattern):
    with file.open("rb") as opened:
        opened.seek(begin)
        return re.findall(pattern, opened.read().decode(errors="replace"), re.MULTILINE)


@contextmanager
def _on_sqlite(server, folder):
    file = folder / "statements"
    file.touch()
    yield file, r"^.+$", {ENVIRONMENT: os.fspath(file)}


@contextmanager
def _on_postgresql(server, folder):
    server.run_sql(["ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()"])
    try:
        yield server.log, r"LOG:  (?:statement|execute [^:]*):\s+(.*)$", {}
    finally:
        server.run_sql(["ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()"])


@contextmanager
def _on_mariadb(server, folder):
    file = server.directory / "statements"
    server.run_sql([f"SET GLOBAL general_log_file = '{file}'", "SET GLOBAL general_log = ON"])
    try:
        yield file, r"\d+ (?:Query|Execute)\t(.*)$", {}
    finally:
        server.run_sql(["SET GLOBAL general_log = OFF"])


@contextmanager
def _on_redis(server, folder):
    """Commands as MONITOR shows them, without those that a script gives."""
    file = folder / "commands"
    from redis import Redis

    client = Redis(port=server.port, protocol=2, socket_timeout=None)  # an idle store is sent nothing for seconds
    with client.monitor() as monitor, file.open("w", buffering=1) as written:
        stopping = threading.Event()

        def follow():
            for command in monitor.listen():
                if stopping.is_set():
                    break
                if command["client_type"] != "lua":
                    written.write(" ".join(command["command"].split()) + "\n")

        thread = threading.Thread(target=follow)
        thread.start()
        yield file, r"^.+$", {}
        stopping.set()
        server.connect().close()  # which sends one more command
        thread.join()
    client.close()
