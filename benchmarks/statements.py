"""What a store is asked: every statement, as its server logs it, or, on SQLite, as its users note it."""

import contextlib
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from stores import Store

from mainspring.brokers.database.postgresql import PREPARED_CLAIM

LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+\b")
SHOWN = 110  # characters
# How a claim begins: on SQL with the look at the head of the line, of which MariaDB needs one for each stretch of it.
CLAIM = re.compile(
    r"WITH picked|SELECT job\.rowid|FORCE INDEX \(mainspring_job_rank\) .* SKIP LOCKED|EVALSHA claim$"
    rf"|EXECUTE {PREPARED_CLAIM.name} "
)


class Statement(NamedTuple):
    """One statement or command as it came in one message, and who sent it."""

    session: str
    text: str

    @property
    def shape(self) -> str:
        """The beginning of the text, without what differs from time to time."""
        return LITERAL.sub("?", self.text)[:SHOWN]


class Log(Protocol):
    def take(self) -> list[Statement]:
        """Return what came since the last time."""


def counted(statements: Iterable[Statement]) -> Counter[str]:
    return Counter(statement.shape for statement in statements)


def number_of_claims(statements: Iterable[Statement]) -> int:
    """Return how many claims these are; several looks of one session in a row are one."""
    before: dict[str, bool] = {}
    number = 0
    for statement in statements:
        is_claim = bool(CLAIM.search(statement.text))
        number += is_claim and not before.get(statement.session)
        before[statement.session] = is_claim
    return number


@contextlib.contextmanager
def log_of(place: Store) -> Iterator[Log]:
    """Log what workers that start meanwhile ask the store. It takes time, so time nothing beside it."""
    with LOGS[place.kind](place) as log:
        log.take()
        yield log


class PostgreSQLLog:
    """Reads the server's own log, where one message of a client is one entry."""

    ENTRY = re.compile(r"^(\d+) LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", re.M)

    def __init__(self, place: Store) -> None:
        self._server = place.server
        self._read = 0

    def __enter__(self) -> "PostgreSQLLog":
        self._set("log_line_prefix = '%p '", "log_statement = 'all'")
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._set("log_statement = 'none'")

    def _set(self, *settings: str) -> None:
        reload = "SELECT pg_reload_conf()"
        self._server.run_sql([*(f"ALTER SYSTEM SET {setting}" for setting in settings), reload])
        time.sleep(0.2)  # each process of the server hears of it in its own time

    def take(self) -> list[Statement]:
        with self._server.log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        self._read += len(text)
        return [_statement(*found) for found in self.ENTRY.findall(text.decode(errors="replace"))]


class MariaDBLog:
    """Reads the general log, which is a table."""

    def __init__(self, place: Store) -> None:
        self._connection = place.server.connect()

    def __enter__(self) -> "MariaDBLog":
        self._ask("SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._ask("SET GLOBAL general_log = OFF")
        self._connection.close()

    def _ask(self, *statements: str) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())

    def take(self) -> list[Statement]:
        rows = self._ask(
            "SELECT thread_id, CONVERT(argument USING utf8mb4) FROM mysql.general_log"
            " WHERE command_type IN ('Query', 'Execute') AND user_host LIKE 'mainspring%'"
        )
        self._ask("TRUNCATE TABLE mysql.general_log")
        return [_statement(str(session), text) for session, text in rows]


class RedisLog:
    """Listens to MONITOR, and leaves out what scripts do, as one script is one command."""

    def __init__(self, place: Store) -> None:
        from mainspring.brokers.redis import scripts

        self._names = {
            script.digest: script.name for script in vars(scripts).values() if isinstance(script, scripts.Script)
        }
        self._client = place.server.connect()
        self._monitor = self._client.monitor()

    def __enter__(self) -> "RedisLog":
        self._monitor.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._monitor.__exit__(*exc_info)
        self._client.close()

    def take(self) -> list[Statement]:
        found = []
        while self._monitor.connection.can_read(timeout=0.05):
            command = self._monitor.next_command()
            if command["client_type"] != "lua":
                sender = f"{command['client_address']}:{command['client_port']}"
                found.append(_statement(sender, self._named(command["command"])))
        return found

    def _named(self, text: str) -> str:
        """Return a command with the name of its script, and without the keys and values that follow."""
        name, _, rest = text.partition(" ")
        return f"EVALSHA {self._names.get(rest[:40], rest[:40])}" if name == "EVALSHA" else text


class SQLiteLog:
    """Reads what the workers note of what they ask, as the settings of the project have them do."""

    VARIABLE = "BENCHMARK_TRACE"

    def __init__(self, place: Store) -> None:
        self._environment = place.environment
        self._folder = Path(tempfile.mkdtemp(prefix="trace-"))
        self._file = self._folder / "statements"
        self._file.touch()
        self._read = 0

    def __enter__(self) -> "SQLiteLog":
        self._environment[self.VARIABLE] = str(self._file)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        del self._environment[self.VARIABLE]
        shutil.rmtree(self._folder)

    def take(self) -> list[Statement]:
        text = self._file.read_bytes()[self._read :]
        self._read += len(text)
        lines = (line.partition(" ") for line in text.decode(errors="replace").splitlines())
        return [Statement(session, statement) for session, _, statement in lines]


LOGS: dict[str, Any] = {
    "postgresql": PostgreSQLLog,
    "mariadb": MariaDBLog,
    "redis": RedisLog,
    "sqlite": SQLiteLog,
}


def _statement(session: str, text: str) -> Statement:
    return Statement(session, " ".join(text.split()))
