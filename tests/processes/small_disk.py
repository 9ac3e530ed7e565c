"""A disk that is so small that a test can fill it, with the tables of jobs on it."""

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager, suppress

from django.core.management import call_command
from django.db import OperationalError, connection

from mainspring.brokers.database.tables import FINISHED, JOB
from tests import servers

SIZE = 4 * 2**20


class Missing(Exception):
    """There can be no such disk here."""


class Disk:
    """`fill` takes all room that is left, and `make_room` gives it back."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self):
        with self._ballast.open("ab", buffering=0) as file:
            for size in (2**16, 2**12):  # the last pages too
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def make_room(self):
        self._ballast.unlink()


class Pages:
    """An SQLite file that may not have more pages than its connections say: as good as a disk, and without root."""

    INIT_COMMAND = f"PRAGMA journal_mode=WAL; PRAGMA max_page_count={SIZE // 4096}"

    def fill(self):
        _run("CREATE TABLE ballast (content)")
        with suppress(OperationalError):
            while True:
                _run("INSERT INTO ballast VALUES (zeroblob(3000))")

    def make_room(self):
        _run("DROP TABLE ballast")


class Pretence:
    """
    What MariaDB answers to an INSERT when there is no room, without there being none.

    InnoDB itself can end its whole server when a disk is full, and often does.
    """

    FULL = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'"

    def fill(self):
        for table in (JOB, FINISHED):
            _run(f"CREATE TRIGGER {table}_full BEFORE INSERT ON {table} FOR EACH ROW {self.FULL}")

    def make_room(self):
        for table in (JOB, FINISHED):
            _run(f"DROP TRIGGER IF EXISTS {table}_full")


@contextmanager
def with_tables(server, monkeypatch):
    """Yield a small disk with the tables of jobs on it, for this process and those that it starts."""
    place = {"sqlite": _on_sqlite, "postgresql": _on_postgresql, "mysql": _on_mysql}[connection.vendor]
    with place(server, monkeypatch) as disk:
        yield disk


@contextmanager
def _on_sqlite(server, monkeypatch):
    with _mounted() as disk:
        folder = disk.folder if disk else tempfile.mkdtemp(dir=servers.run_directory())
        options = {"timeout": 20, "init_command": Pages.INIT_COMMAND if disk is None else "PRAGMA journal_mode=WAL"}
        with _settings(monkeypatch, NAME=f"{folder}/jobs.sqlite3", OPTIONS=options):
            call_command("migrate", verbosity=0, skip_checks=True)
            yield disk or Pages()


@contextmanager
def _on_postgresql(server, monkeypatch):
    with _mounted() as disk:
        if disk is None:
            raise Missing("to mount a small one takes root")
        os.chown(disk.folder, server.uid, server.gid)
        server.run_sql(
            [f"CREATE TABLESPACE small LOCATION '{disk.folder}'", "GRANT CREATE ON TABLESPACE small TO mainspring"]
        )
        _move_tables("small")
        yield disk
        _move_tables("pg_default")
        server.run_sql(["DROP TABLESPACE small"])


def _move_tables(tablespace):
    for table in (JOB, FINISHED):
        _run(f"ALTER TABLE {table} SET TABLESPACE {tablespace}")


def _run(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def _on_mysql(server, monkeypatch):
    disk = Pretence()
    yield disk
    disk.make_room()


@contextmanager
def _mounted():
    """Mount a small disk for the block, and unmount it whoever still uses it; yield None where that is not allowed."""
    folder = servers.run_directory() / "small-disk"
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0777", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _settings(monkeypatch, **changes):
    """Change the settings of the database, here and in processes that are started meanwhile."""
    databases = json.loads(os.environ[servers.ENVIRONMENT])
    databases["default"] |= changes
    connection.close()
    with monkeypatch.context() as patch:
        patch.setenv(servers.ENVIRONMENT, json.dumps(databases))
        for name, value in changes.items():
            patch.setitem(connection.settings_dict, name, value)
        yield
        connection.close()
