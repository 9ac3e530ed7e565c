"""Statements that a PostgreSQL server reads and plans once for each connection, not each time."""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any
from weakref import WeakSet

from django.db import DatabaseError

from mainspring.brokers.database.transactions import in_transaction

# A plan is kept while tables grow, so each part of it must be a walk along an index, also where they are empty now.
NEVER = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")
# What cannot do without one of these seems to cost 10^10 until PostgreSQL 17, and so to be worth compiling each time:
# a claim took 0.9 s.
SETTINGS = ("plan_cache_mode = force_generic_plan", "jit = off", *(f"enable_{kind} = off" for kind in NEVER))
PLANNED = "; ".join(f"SET LOCAL {setting}" for setting in SETTINGS)
# States of errors, by the standard and by PostgreSQL: another session than the one in which it was prepared, as where
# a pooler chooses one for each transaction; and a plan that no longer fits the tables.
NOT_THERE, THERE_ALREADY, NO_LONGER_FITS = "26000", "42P05", "0A000"

_given_up: set[str] = set()  # the aliases of databases whose sessions do not keep what is prepared


def send_as_they_are(alias: str) -> None:
    """Prepare nothing more in this database, as long as this process lives."""
    _given_up.add(alias)


class Prepared:
    """
    One statement; %s stands for each parameter, and `types` are theirs.

    To read and plan the statement of a turn takes the server more than half of its time where few jobs wait, and a
    third with 128. Where it cannot be kept it is sent as it is: inside a transaction, to a pooler that gives each
    transaction another session, which shows at the second try, and by a process under which a table was changed.
    """

    def __init__(self, statement: str, types: Sequence[str]) -> None:
        self._statement = statement
        # By its text: whoever has prepared this name in a session that a pooler hands on meant the same.
        text = repr((statement, *types))
        self.name = f"mainspring_{sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]}"
        places = (f"${number}" for number in range(1, len(types) + 1))
        numbered = "".join(part + next(places, "") for part in statement.split("%s"))
        self._prepare = f"PREPARE {self.name} ({', '.join(types)}) AS {numbered}"
        self._execute = f"{PLANNED}; EXECUTE {self.name} ({', '.join(['%s'] * len(types))})"
        self._known_to: WeakSet[Any] = WeakSet()  # the driver's connections

    def execute(self, cursor: Any, parameters: Sequence[Any]) -> None:
        """Execute it, prepared if that is possible."""
        if not self._can_be_kept(cursor.db) or not self._was_executed(cursor, parameters):
            cursor.execute(self._statement, parameters)

    def _can_be_kept(self, connection: Any) -> bool:
        if connection.alias in _given_up or connection.settings_dict["OPTIONS"].get("server_side_binding"):
            return False
        return not in_transaction(connection)

    def _was_executed(self, cursor: Any, parameters: Sequence[Any]) -> bool:
        """Execute it prepared; return False, with nothing done, if this session turns out not to know it."""
        is_known = cursor.db.connection in self._known_to
        try:
            self._execute_prepared(cursor, parameters, is_known)
        except DatabaseError as error:
            state = _state(error)
            if state == THERE_ALREADY and not is_known:  # what was executed with it then has failed
                self._known_to.add(cursor.db.connection)
                return self._was_executed(cursor, parameters)
            if state not in (NOT_THERE, THERE_ALREADY, NO_LONGER_FITS):
                raise
            send_as_they_are(cursor.db.alias)
            return False
        self._known_to.add(cursor.db.connection)
        return True

    def _execute_prepared(self, cursor: Any, parameters: Sequence[Any], is_known: bool) -> None:
        # Several statements in one message are one transaction, and so in one session.
        cursor.execute(self._execute if is_known else f"{self._prepare}; {self._execute}", parameters)
        go_to_last_result(cursor)


def go_to_last_result(cursor: Any) -> None:
    """Leave a cursor with the result of the last statement of several in one message."""
    if hasattr(cursor.db.connection, "pgconn"):  # psycopg2 keeps no other
        while cursor.nextset():
            pass


def _state(error: DatabaseError) -> str | None:
    """Return what SQL calls the state of an error."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
