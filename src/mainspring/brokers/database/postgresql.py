"""PostgreSQL: a claim is one statement that passes over what others have locked."""

import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, TypeVar

from django.db import DataError, OperationalError, transaction

from mainspring import job as machine
from mainspring.brokers.base import KEY_WAIT, Listener, Pulse, Question
from mainspring.brokers.database.listeners import ConnectionListener, PollingListener, own_connection
from mainspring.brokers.database.prepared import Prepared, go_to_last_result
from mainspring.brokers.database.reaches import HELD_WITHIN
from mainspring.brokers.database.store import (
    END,
    FREED_KEY,
    KEY_LOCKED,
    NEXT_DUE,
    QUEUES,
    Connection,
    Store,
    Wish,
    as_jobs,
    as_json,
    as_worker,
)
from mainspring.brokers.database.tables import (
    FINISHED,
    FINISHED_COLUMNS,
    INSTALLATION,
    JOB,
    JOB_COLUMNS,
    MUTABLE_COLUMNS,
    QUESTION,
    QUESTION_COLUMNS,
    REACH,
    REACH_COLUMNS,
    TEXT_COLUMNS,
    WAITER,
    WORKER,
    WORKER_COLUMNS,
)
from mainspring.brokers.database.transactions import in_transaction
from mainspring.brokers.database.waiting import AnnouncedWait, EndListener, PolledWait
from mainspring.brokers.sockets import is_readable
from mainspring.exceptions import KeyLocked
from mainspring.job import ALONE, ENDS, LIVE, TIME_BITS, Job

T = TypeVar("T")

# Channels belong to a database, and a worker who looks in vain loses nothing: one for all aliases will do.
WORK_CHANNEL = "mainspring_work"
ENDS_CHANNEL = "mainspring_ends"


# Always true, but the planner takes it for one row in 200: it expects few, and looks each up by its place whatever the
# table. With more it would compare each with every job while a table is small, and a plan that is kept sees it grow.
FEW = "{} & 0 = 0"
# Each span is one walk along the index: `queue_name = ANY(...) ORDER BY rank` would sort the backlog. Both bounds are
# there even for a whole queue, as without them the planner sorts the backlog too while it has no statistics.
# MATERIALIZED keeps it from running what locks once per row of the update.
PICKED = f"""
    picked AS MATERIALIZED (
        SELECT first.ctid AS place
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS span (queue_name, low, high)
        CROSS JOIN LATERAL (
            SELECT ctid, rank FROM {JOB}
            WHERE queue_name = span.queue_name AND rank >= span.low AND rank < span.high
                AND state = 'ready' AND task_path <> ALL(%s)
            ORDER BY rank LIMIT %s
            FOR UPDATE SKIP LOCKED
        ) AS first
        WHERE {FEW.format("first.rank")}
        ORDER BY first.rank LIMIT %s
    )
"""
# By place and not by id: that saves a walk along an index for each job. One that somebody has claimed and given back
# since this statement began is locked at a place that the update cannot see yet; it stays for the next look.
TAKE = f"""
    UPDATE {JOB} AS job SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s,
        holds_key = {FREED_KEY}
    FROM picked WHERE job.ctid = picked.place
    RETURNING {", ".join(f"job.{name}" for name in JOB_COLUMNS)}
"""
REACHED = f"""
    reached AS (
        INSERT INTO {REACH} ({", ".join(REACH_COLUMNS)})
        SELECT worker_id, queue_name, rank >> {TIME_BITS} << {TIME_BITS}, max(rank) + 1 FROM taken GROUP BY 1, 2, 3
        {Store.on_known_reach_update}
    )
"""
CLAIM = f"WITH {PICKED}, taken AS ({TAKE}), {REACHED} SELECT * FROM taken"


def _rows(columns: Sequence[str]) -> str:
    """Return a table of rows given as one JSON text: made and read faster than arrays that the driver writes."""
    types = ", ".join(f"{name} {'text' if name in TEXT_COLUMNS else 'bigint'}" for name in columns)
    return f"json_to_recordset(%s) AS outcome ({types})"


def _columns(name: str, columns: Sequence[str]) -> str:
    """
    Return a table of this name of rows given as one array for each column, see `_as_arrays`.

    For many rows this takes a quarter less time, here and there; for one it takes more.
    """
    arrays = ", ".join(f"%s::{kind}" for kind in _types(columns))
    return f"unnest({arrays}) AS {name} ({', '.join(columns)})"


def _types(columns: Sequence[str]) -> list[str]:
    return [f"{'text' if name in TEXT_COLUMNS else 'bigint'}[]" for name in columns]


INSERT = f"INSERT INTO {JOB} ({', '.join(JOB_COLUMNS)}) SELECT * FROM {_rows(JOB_COLUMNS)}"

OUTCOME_COLUMNS = ("id", "token", *MUTABLE_COLUMNS)
NOT_OF_AN_END = ("rank", "due_at", "holds_key", "parked_under", "place", "worker_id", "interruptions")
# Of these an end changes neither the worker nor the interruptions, and the finished job has no place in line.
END_COLUMNS = tuple(name for name in OUTCOME_COLUMNS if name not in NOT_OF_AN_END)
# The subquery hides the state from the planner: where statistics know of no running job it would expect one row and
# compare every outcome with every running job.
HELD = "job.token = outcome.token AND job.state = (SELECT 'running')"
# LIMIT makes each outcome a look-up of its own.
ENDED = f"""
    outcome AS MATERIALIZED (
        SELECT given.*, stored.place FROM {_columns("given", END_COLUMNS)}
        CROSS JOIN LATERAL (SELECT ctid AS place FROM {JOB} WHERE id = given.id LIMIT 1) AS stored
        WHERE {FEW.format("given.token")}
    )
    , gone AS (
        DELETE FROM {JOB} AS job USING outcome WHERE job.ctid = outcome.place AND {HELD}
        RETURNING {", ".join(f"{'outcome' if name in END_COLUMNS else 'job'}.{name}" for name in FINISHED_COLUMNS)}
    )
    , ended AS (INSERT INTO {FINISHED} ({", ".join(FINISHED_COLUMNS)}) SELECT * FROM gone RETURNING id)
"""
# The first question is asked once, and nearly always enough: to look for those who wait for each job takes 2 µs.
ANNOUNCED = f"""
    CASE WHEN (SELECT true FROM {WAITER} LIMIT 1)
    THEN (SELECT pg_notify('{ENDS_CHANNEL}', ended.id)::text FROM {WAITER} WHERE job_id = ended.id LIMIT 1) END
"""
FINISH = f"WITH {ENDED} SELECT id, {ANNOUNCED} FROM ended"
# Claimed jobs, and of ended ones the id, with NULL for everything else but the announcement.
STATE = JOB_COLUMNS.index("state")
FINISH_AND_CLAIM = f"""
    WITH {ENDED}, {PICKED}, taken AS ({TAKE}), {REACHED}
    SELECT {", ".join(JOB_COLUMNS)} FROM taken
    UNION ALL
    SELECT id, {", ".join("NULL" if name != "result" else ANNOUNCED for name in JOB_COLUMNS[1:])} FROM ended
"""
WISH_TYPES = ("text[]", "bigint[]", "bigint[]", "text[]", "bigint", "bigint", "bigint", "text", "bigint")
PREPARED_CLAIM = Prepared(CLAIM, WISH_TYPES)
PREPARED_FINISH = Prepared(FINISH, _types(END_COLUMNS))
PREPARED_FINISH_AND_CLAIM = Prepared(FINISH_AND_CLAIM, (*_types(END_COLUMNS), *WISH_TYPES))
PUT_BACK = f"""
    UPDATE {JOB} AS job SET {", ".join(f"{name} = outcome.{name}" for name in MUTABLE_COLUMNS)}
    FROM {_rows(OUTCOME_COLUMNS)} WHERE job.id = outcome.id AND {HELD} RETURNING job.id
"""

LOCK_NOT_AVAILABLE = "55P03"
MOMENT = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
WORKERS, QUESTIONS = ", ".join(WORKER_COLUMNS), ", ".join(QUESTION_COLUMNS)
RAISE_BEATS = f"""
    INSERT INTO {WORKER} ({WORKERS}) SELECT * FROM {_rows(WORKER_COLUMNS)}
    {Store.on_known_worker_update} RETURNING {WORKERS}
"""
NO_BEATS = f"SELECT {WORKERS} FROM {WORKER} WHERE false"
GIVEN_QUEUES = "SELECT unnest(%s::text[])"


STRANGERS = f"""
    (
        SELECT COALESCE(json_agg(DISTINCT worker_id), '[]')::text FROM {REACH} AS reach
        WHERE worker_id NOT IN (SELECT id FROM known) AND EXISTS (SELECT 1 FROM {JOB} AS job WHERE {HELD_WITHIN})
    )
"""


def _beat(beating: str, queues: str, with_ready: bool, with_strangers: bool) -> str:
    """Return the one statement of a beat; `beating` writes and returns rows, `queues` names where to look."""
    # A statement does not see in a table what it has written there itself. The time is read last.
    return f"""
        WITH RECURSIVE beating AS ({beating}), queue (name) AS ({queues})
        , known AS (
            SELECT * FROM beating UNION ALL SELECT {WORKERS} FROM {WORKER} WHERE id NOT IN (SELECT id FROM beating)
        )
        SELECT
            (SELECT COALESCE(json_agg(json_build_array({WORKERS}) ORDER BY id), '[]')::text FROM known),
            {NEXT_DUE},
            {_is_there(ALONE, END)},
            (SELECT name FROM {INSTALLATION} WHERE id = 1),
            (
                SELECT COALESCE(json_agg(json_build_array({QUESTIONS}) ORDER BY asked_at, id), '[]')::text
                FROM {QUESTION} WHERE worker_id IN (SELECT id FROM beating) AND answer IS NULL
            ),
            {_is_there(0, ALONE) if with_ready else "false"},
            {STRANGERS if with_strangers else "'[]'"},
            {MOMENT}
    """


def _is_there(low: int, high: int) -> str:
    """Return the question whether a job is ready in this stretch of the lines."""
    # ORDER BY, LIMIT 1 and both bounds make the planner jump to where it would stand, even while it has no statistics.
    return f"""
        EXISTS (
            SELECT FROM queue CROSS JOIN LATERAL (
                SELECT FROM {JOB} WHERE queue_name = queue.name AND rank >= {low} AND rank < {high} AND state = 'ready'
                ORDER BY rank LIMIT 1
            ) AS first
        )
    """


class PostgreSQL(Store):
    _is_deaf: bool | None = None  # is nothing ever heard by LISTEN? None as long as nobody has waited for a job
    is_in = "= ANY(%s)"
    not_in = "<> ALL(%s)"
    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    now = MOMENT
    select_moment = f"SELECT {now}"

    def listed(self, values: Collection[str]) -> Any:
        return list(values)

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        """See what others have committed meanwhile, whatever isolation the project has chosen for its own work."""
        is_own = not in_transaction(connection)
        with transaction.atomic(using=connection.alias):
            if is_own:
                with connection.cursor() as cursor:
                    cursor.execute(self._own_settings())
            yield

    def _own_settings(self) -> str:
        """Return what to set for one transaction: never for longer, as a pooler may give the session to others."""
        # In any case: besides Django's setting the server, the role and the connection's options can choose one.
        isolation = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
        if self.longest_wait is None:
            return isolation
        return f"{isolation}; SET LOCAL lock_timeout = {round(self.longest_wait * 1000)}"

    def run(self, connection: Connection, verb: Callable[..., T], *arguments: Any) -> T:
        if self.longest_wait is None or in_transaction(connection) or self._is_one_message(connection, verb):
            return verb(connection, *arguments)
        with self.transaction(connection):
            return verb(connection, *arguments)

    def _is_one_message(self, connection: Connection, verb: Callable[..., Any]) -> bool:
        """Does this verb send one message, with these settings in it? An idle supervisor sends nothing else."""
        return verb == self.beat and not connection.settings_dict["OPTIONS"].get("server_side_binding")

    def insert_many(self, cursor: Any, jobs: Sequence[Job], on_conflict: str = "") -> None:
        for start in range(0, len(jobs), 1000):
            cursor.execute(f"{INSERT} {on_conflict}", [as_json(jobs[start : start + 1000], JOB_COLUMNS)])

    def insert_if_free(self, connection: Connection, job: Job) -> bool:
        if in_transaction(connection) or connection.settings_dict["OPTIONS"].get("server_side_binding"):
            return False
        # One message is one transaction, and of its statements the last tells what the others have led to.
        with connection.cursor() as cursor, _as_key_locked():
            cursor.execute(
                f"SET LOCAL lock_timeout = {round(KEY_WAIT * 1000)}; {self.insert} {self.on_held_key_keep};"
                f" SELECT id = %s FROM {JOB} WHERE holds_key = %s",
                [*job, job.id, job.holds_key],
            )
            go_to_last_result(cursor)
            row = cursor.fetchone()
            return row is not None and bool(row[0])

    @contextmanager
    def short_lock_waits(self, cursor: Any, seconds: float = KEY_WAIT) -> Iterator[None]:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (usual,) = cursor.fetchone()
        cursor.execute(f"SET LOCAL lock_timeout = {round(seconds * 1000)}")
        with _as_key_locked():  # which leaves the settings to the end of the transaction or savepoint
            yield
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [usual])

    def claim(self, connection: Connection, wish: Wish) -> list[Job]:
        with connection.cursor() as cursor:
            return self.take(cursor, wish)

    def take(self, cursor: Any, wish: Wish) -> list[Job]:
        PREPARED_CLAIM.execute(cursor, _wished(wish))
        return as_jobs(cursor)

    def announce(self, cursor: Any, ids: Collection[str]) -> None:
        cursor.execute(f"SELECT pg_notify('{ENDS_CHANNEL}', job_id) FROM {WAITER} WHERE job_id = ANY(%s)", [list(ids)])

    def wake(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            # A notice takes a transaction number, and so its commit would wait for the disk: for nothing. But a
            # commit that is the caller's has to.
            fast = "" if in_transaction(connection) else "SET LOCAL synchronous_commit = off; "
            cursor.execute(f"{fast}NOTIFY {WORK_CHANNEL}")

    def listen(self, connection: Connection) -> Listener:
        own = own_connection(connection)
        if not in_transaction(connection) and not _can_listen(own, connection):
            own.close()
            return PollingListener()
        return NotifyListener(own)

    def listen_for_end(self, connection: Connection, id: str, at: int, expires_at: int) -> EndListener:
        own = own_connection(connection)
        if self._is_deaf is None and not in_transaction(connection):
            self._is_deaf = not _can_listen(own, connection)
        return PolledWait(own, is_own=True) if self._is_deaf else NotifyWait(own, id, at, expires_at)

    def settle(self, connection: Connection, jobs: Sequence[Job], at: int) -> set[str]:
        if self.longest_wait is not None or connection.in_atomic_block or not _are_alike(jobs) or _any_keyed(jobs):
            return super().settle(connection, jobs, at)
        with connection.cursor() as cursor:
            return self.move(cursor, jobs, at)

    def settle_and_claim(self, connection: Connection, jobs: Sequence[Job], wish: Wish) -> tuple[set[str], list[Job]]:
        if connection.in_atomic_block or not all(job.state in ENDS for job in jobs) or _any_keyed(jobs):
            return super().settle_and_claim(connection, jobs, wish)
        with connection.cursor() as cursor:
            PREPARED_FINISH_AND_CLAIM.execute(cursor, [*_as_arrays(jobs, END_COLUMNS), *_wished(wish)])
            rows = cursor.fetchall()
        claimed = [Job._make(row) for row in rows if row[STATE] is not None]
        return {row[0] for row in rows if row[STATE] is None}, claimed

    def move(self, cursor: Any, jobs: Sequence[Job], at: int) -> set[str]:
        if self.longest_wait is not None:
            return super().move(cursor, jobs, at)
        if special := [job for job in jobs if _any_keyed([job])]:
            jobs = [job for job in jobs if not _any_keyed([job])]
            return super().move(cursor, special, at) | (self.move(cursor, jobs, at) if jobs else set())
        ended = [job for job in jobs if job.state in ENDS]
        back = [job for job in jobs if job.state in LIVE]
        moved: set[str] = set()
        if ended:
            PREPARED_FINISH.execute(cursor, _as_arrays(ended, END_COLUMNS))
            moved |= _ids(cursor)
        if back:
            cursor.execute(PUT_BACK, [as_json(back, OUTCOME_COLUMNS)])
            moved |= _ids(cursor)
        return moved

    def beat(
        self,
        connection: Connection,
        rows: Sequence[tuple[Any, ...]],
        queues: Collection[str] | None,
        with_ready: bool,
        with_strangers: bool,
    ) -> tuple[Pulse, int]:
        beating, names = RAISE_BEATS if rows else NO_BEATS, QUEUES if queues is None else GIVEN_QUEUES
        statement = _beat(beating, names, with_ready, with_strangers)
        beats = json.dumps([dict(zip(WORKER_COLUMNS, row, strict=True)) for row in rows])
        parameters = [*([beats] if rows else []), *([] if queues is None else [list(queues)])]
        with connection.cursor() as cursor:
            self._execute_alone(cursor, statement, parameters)
            workers, next_due, has_alone, site, questions, has_ready, strangers, moment = cursor.fetchone()
        known = [as_worker(*row) for row in json.loads(workers)]
        asked = [Question(*row) for row in json.loads(questions)]
        return Pulse(known, next_due, has_alone, site, asked, has_ready, set(json.loads(strangers))), moment

    def _execute_alone(self, cursor: Any, statement: str, parameters: Sequence[Any]) -> None:
        """Execute one statement that may be a transaction of its own, in one trip to the server."""
        if self.longest_wait is None or in_transaction(cursor.db):
            cursor.execute(statement, parameters)
            return
        # Several statements in one message are one transaction.
        cursor.execute(f"{self._own_settings()}; {statement}", parameters)
        go_to_last_result(cursor)


class NotifyListener(ConnectionListener):
    """Hears of work by LISTEN."""

    def __init__(self, own: Connection) -> None:
        super().__init__(own)
        _listen(own, WORK_CHANNEL)

    def _hears_on(self, own: Connection) -> bool:
        return bool(_notifications(own))


class NotifyWait(AnnouncedWait):
    """Hears of the end of a job by LISTEN."""

    def __init__(self, own: Connection, job_id: str, at: int, expires_at: int) -> None:
        self._heard: list[str] = []
        _listen(own, ENDS_CHANNEL)
        if hasattr(own.connection, "add_notify_handler"):
            # psycopg hands on here what arrives with the reply to a query; psycopg2 keeps it with the others.
            own.connection.add_notify_handler(lambda notify: self._heard.append(notify.payload))
        super().__init__(own, job_id, at, expires_at)

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._has_heard():
            if not is_readable(self.connection.connection, max(0.0, deadline - time.monotonic())):
                return

    def _has_heard(self) -> bool:
        heard = [*self._heard, *_notifications(self.connection)]
        self._heard.clear()
        return self.job_id in heard


def _listen(own: Connection, channel: str) -> None:
    with own.cursor() as cursor:
        cursor.execute(f"LISTEN {channel}")


def _can_listen(own: Connection, connection: Connection) -> bool:
    """Does a notification arrive? Behind a pooler like pgbouncer LISTEN succeeds and then nothing is ever heard."""
    channel = f"mainspring_test_{secrets.token_hex(8)}"
    _listen(own, channel)
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {channel}")
    has_arrived = is_readable(own.connection, 1.0)
    with own.cursor() as cursor:
        cursor.execute(f"UNLISTEN {channel}")
    _notifications(own)
    return has_arrived


def _notifications(own: Connection) -> list[str]:
    """Return the payloads that have come, without waiting for more."""
    raw = own.connection
    with own.wrap_database_errors:
        if not hasattr(raw, "pgconn"):  # psycopg2
            raw.poll()
            payloads = [notify.payload for notify in raw.notifies]
            raw.notifies.clear()
            return payloads
        raw.pgconn.consume_input()
        return [notify.extra.decode() for notify in iter(raw.pgconn.notifies, None)]


@contextmanager
def _as_key_locked() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", getattr(error.__cause__, "pgcode", None)) == LOCK_NOT_AVAILABLE:
            raise KeyLocked(KEY_LOCKED) from error
        raise


def _ids(cursor: Any) -> set[str]:
    return {id for id, *_ in cursor.fetchall()}


def _as_arrays(jobs: Sequence[Job], columns: Sequence[str]) -> list[str]:
    """Return each of these columns of the jobs as PostgreSQL writes an array; the driver would take twice the time."""
    by_column = zip(*map(attrgetter(*columns), jobs), strict=True)
    writers = [_text if name in TEXT_COLUMNS else str for name in columns]
    return [
        "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"
        for write, values in zip(writers, by_column, strict=True)
    ]


def _text(value: str) -> str:
    if "\0" in value:
        raise DataError("A text holds the character NUL, which PostgreSQL cannot store.")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _are_alike(jobs: Sequence[Job]) -> bool:
    """Does one statement write all of these outcomes?"""
    return len({job.state in ENDS for job in jobs}) == 1


def _any_keyed(jobs: Sequence[Job]) -> bool:
    """Has any of these a unique key, limits or an order, so that there may be more to do in the same transaction?"""
    return any(map(machine.may_free_others, jobs))


def _wished(wish: Wish) -> list[Any]:
    """Return the parameters of a claim."""
    by_column = [list(column) for column in zip(*wish.spans, strict=True)]
    return [*by_column, list(wish.skip_tasks), wish.limit, wish.limit, wish.token, wish.worker_id, wish.at]
