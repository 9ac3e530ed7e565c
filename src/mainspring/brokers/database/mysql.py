"""MariaDB and MySQL: a claim is one short transaction, since UPDATE returns no rows."""

import math
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, OperationalError, transaction
from django.db.backends.signals import connection_created

from mainspring import job as machine
from mainspring.brokers.base import KEY_WAIT, Listener, Pulse
from mainspring.brokers.database import reaches
from mainspring.brokers.database.listeners import ConnectionListener, PollingListener, own_connection
from mainspring.brokers.database.questions import unanswered
from mainspring.brokers.database.store import (
    FREED_KEY,
    KEY_LOCKED,
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
    JOB,
    MUTABLE_COLUMNS,
    QUESTION,
    REACH,
    WAITER,
    WORKER,
)
from mainspring.brokers.database.transactions import in_transaction
from mainspring.brokers.database.waiting import AnnouncedWait
from mainspring.brokers.sockets import is_readable
from mainspring.exceptions import BrokerRefused, KeyLocked
from mainspring.job import Job

INTERRUPTED = 1317
SLEEP_FOR = 60.0  # seconds; whoever is not woken looks with the beat
ESCAPED = "\0\b\t\n\r\x1a\"'\\"  # sent as two characters
SURELY_FITS = 100_000  # characters; nobody sets max_allowed_packet that low
OUTCOME_COLUMNS = ("id", *MUTABLE_COLUMNS)
TEXTS = {"state", "worker_id", "errors", "worker_ids", "result", "holds_key", "parked_under"}
LOCK_WAIT_TIMEOUT = 1205
# What lasts until it is killed. To kill a SLEEP of MariaDB takes two or four seconds in some of a hundred times where
# several sleep; a wait for a position that no replica reaches does not have that (benchmarks/wake_ups.py).
WAITS = {True: "MASTER_GTID_WAIT('4294967295-1-18446744073709551615', {})", False: "SLEEP({})"}
# The migration gives these to the tables; JSON_TABLE would take that of the database, and the join no index.
COLLATIONS = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}


class MySQL(Store):
    quote = "`"
    bigint = "signed"
    is_in = "IN %s"
    not_in = "NOT IN %s"
    for_update = "FOR UPDATE"
    # On a small table the optimizer reads every row, and whoever locks by that waits for the rows of all others.
    by_id = "FORCE INDEX (PRIMARY)"
    by_due = "FORCE INDEX (mainspring_job_due)"
    by_rank = "FORCE INDEX (mainspring_job_rank)"
    by_order = "FORCE INDEX (mainspring_job_order)"
    by_parking = "FORCE INDEX (mainspring_job_parked)"
    by_key = "FORCE INDEX (mainspring_job_key)"
    delete = f"DELETE job FROM {JOB} AS job FORCE INDEX (PRIMARY) WHERE job.id IN %s"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    # UNIX_TIMESTAMP(NOW(6)) would be an hour off while the session's time zone leaves summer time.
    now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
    select_moment = f"SELECT {now}"
    on_known_id_keep = f"ON DUPLICATE KEY UPDATE id = {JOB}.id"  # INSERT IGNORE would hide every other error
    on_held_key_keep = on_known_id_keep
    on_known_name_keep = "ON DUPLICATE KEY UPDATE name = VALUES(name)"
    on_known_hold_update = "ON DUPLICATE KEY UPDATE cost = VALUES(cost)"
    on_known_worker_update = (
        f"ON DUPLICATE KEY UPDATE beat = {WORKER}.beat + 1, beat_at = VALUES(beat_at), facts = VALUES(facts)"
    )
    on_known_reach_update = f"ON DUPLICATE KEY UPDATE high = GREATEST({REACH}.high, VALUES(high))"
    on_known_site_update = "ON DUPLICATE KEY UPDATE name = VALUES(name), adopted_at = VALUES(adopted_at)"

    def listed(self, values: Collection[str]) -> Any:
        return tuple(values) or ("",)  # no name is empty, and `IN ()` is an error

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        """Lock only the rows that a statement finds: REPEATABLE READ would lock the gaps between them too."""
        connection.ensure_connection()
        if not in_transaction(connection) and connection.isolation_level != "read committed":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        with transaction.atomic(using=connection.alias):
            yield

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        super().limit_waits(connection, seconds)
        connection_created.connect(partial(_limit_lock_waits, connection.alias, math.ceil(seconds)), weak=False)

    def refuse_oversized(self, connection: Connection, texts: Iterable[str]) -> None:
        """Refuse a text to which the server would answer by hanging up, which looks like an outage."""
        for text in texts:
            if len(text) > SURELY_FITS:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT @@max_allowed_packet")
                    longest = cursor.fetchone()[0] - SURELY_FITS
                if len(text.encode()) + sum(map(text.count, ESCAPED)) > longest:
                    raise BrokerRefused(
                        f"A statement is longer than the server's max_allowed_packet: {len(text)} characters."
                    )

    def push(self, connection: Connection, jobs: Sequence[Job]) -> None:
        self.refuse_oversized(connection, (job.arguments for job in jobs))
        super().push(connection, jobs)

    def push_once(self, connection: Connection, jobs: Sequence[Job]) -> None:
        self.refuse_oversized(connection, (job.arguments for job in jobs))
        super().push_once(connection, jobs)

    def insert_if_free(self, connection: Connection, job: Job) -> bool:
        # Of an INSERT that changes nothing the driver does not say so, and inside a transaction it waits for others.
        return False

    @contextmanager
    def short_lock_waits(self, cursor: Any, seconds: float = KEY_WAIT) -> Iterator[None]:
        cursor.execute("SELECT @@innodb_lock_wait_timeout")
        (usual,) = cursor.fetchone()
        cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {math.ceil(seconds)}")
        try:
            yield
        except OperationalError as error:
            if error.args[:1] == (LOCK_WAIT_TIMEOUT,):
                raise KeyLocked(KEY_LOCKED) from error
            raise
        finally:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {usual}")

    def queue_names(self, connection: Connection) -> list[str]:
        # One by one: in a recursive query, and in DISTINCT before it has statistics, it would walk the whole index.
        names = [""]
        with connection.cursor() as cursor:
            while names[-1] is not None:
                cursor.execute(f"SELECT min(queue_name) FROM {JOB} WHERE queue_name > %s", [names[-1]])
                names += cursor.fetchone()
        return names[1:-1]

    def take(self, cursor: Any, wish: Wish) -> list[Job]:
        pick = (
            f"SELECT {self.job_columns} FROM {JOB} {self.by_rank}"
            " WHERE queue_name = %s AND `rank` >= %s AND `rank` < %s AND state = 'ready'"
            f" AND task_path {self.not_in} ORDER BY `rank` LIMIT %s {self.skip_locked}"
        )
        take = (
            f"UPDATE {JOB} {self.by_id} SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s,"
            f" holds_key = {FREED_KEY} WHERE id IN %s"
        )
        skipped = self.listed(wish.skip_tasks)
        jobs: list[Job] = []
        for span in wish.spans:
            cursor.execute(pick, [*span, skipped, wish.limit])
            jobs += as_jobs(cursor)
        jobs = sorted(jobs, key=lambda job: job.rank or 0)[: wish.limit]
        if jobs:
            cursor.execute(take, [wish.token, wish.worker_id, wish.at, tuple(job.id for job in jobs)])
            reaches.note(cursor, self, wish.worker_id, jobs)
        return [machine.claim(job, wish.worker_id, wish.token, wish.at) for job in jobs]

    def finish(self, cursor: Any, jobs: Sequence[Job]) -> None:
        if jobs:
            ids = [job.id for job in jobs]
            columns = self.names(FINISHED_COLUMNS)
            values = ", ".join(
                f"{'outcome' if name in MUTABLE_COLUMNS else 'job'}.{name}" for name in FINISHED_COLUMNS
            )
            outcomes = as_json(jobs, OUTCOME_COLUMNS)
            self.refuse_oversized(cursor.db, [outcomes])
            # To send the rows back whole, arguments and all, takes twice as long.
            cursor.execute(
                f"INSERT INTO {FINISHED} ({columns}) SELECT {values} FROM {_outcomes(cursor)}",
                [outcomes],
            )
            cursor.execute(self.delete, [tuple(ids)])
            self.announce(cursor, ids)

    def put_back(self, cursor: Any, jobs: Sequence[Job]) -> None:
        if jobs:
            changes = ", ".join(f"job.{name} = outcome.{name}" for name in MUTABLE_COLUMNS)
            outcomes = as_json(jobs, OUTCOME_COLUMNS)
            self.refuse_oversized(cursor.db, [outcomes])
            cursor.execute(f"UPDATE {_outcomes(cursor)} SET {changes}", [outcomes])

    def beat(
        self,
        connection: Connection,
        rows: Sequence[tuple[Any, ...]],
        queues: Collection[str] | None,
        with_ready: bool,
        with_strangers: bool,
    ) -> tuple[Pulse, int]:
        """Do it in two statements, each a transaction; an idle supervisor sends hardly anything else."""
        names = self.queue_names(connection) if queues is None else queues
        looks, listed, mine = self.looks(with_ready), self.listed(names), self.listed([row[0] for row in rows])
        unanswered_ones = f"SELECT 1 FROM {QUESTION} WHERE worker_id {self.is_in} AND answer IS NULL"
        with connection.cursor() as cursor:
            if rows:
                cursor.executemany(f"{self.insert_worker} {self.on_known_worker_update}", rows)
            cursor.execute(
                f"SELECT '', {', '.join(looks)}, EXISTS ({unanswered_ones}), {self.now}"
                f" UNION ALL SELECT id, beat, started_at, beat_at, facts, NULL, NULL FROM {WORKER}",
                [*[listed] * sum(look.count("%s") for look in looks), mine],
            )
            rows_by_id = {id: values for id, *values in cursor.fetchall()}
        next_due, has_alone, has_ready, site, is_asked, now = rows_by_id.pop("")
        workers = [
            as_worker(id, int(beat), int(started_at), int(beat_at), facts)
            for id, (beat, started_at, beat_at, facts, *_) in sorted(rows_by_id.items())
        ]
        questions = unanswered(connection, self, [row[0] for row in rows]) if is_asked else []
        strangers = reaches.strangers(connection, self) if with_strangers else set()
        due = None if next_due is None else int(next_due)
        return Pulse(workers, due, bool(has_alone), site, questions, bool(has_ready), strangers), int(now)

    def wake(self, connection: Connection) -> None:
        _wake_up(connection, ["work"])

    def listen(self, connection: Connection) -> Listener:
        own = own_connection(connection)
        if not hasattr(own.connection, "send_query") or not _can_be_woken(own, connection):
            own.close()
            return PollingListener()
        return SleepListener(own)

    def announce(self, cursor: Any, ids: Collection[str]) -> None:
        cursor.execute(f"SELECT DISTINCT job_id FROM {WAITER} WHERE job_id IN %s", [tuple(ids)])
        if topics := [_topic(id) for (id,) in cursor.fetchall()]:
            transaction.on_commit(partial(_wake_up, cursor.db, topics), using=cursor.db.alias)

    def listen_for_end(self, connection: Connection, id: str, at: int, expires_at: int) -> "SleepWait":
        return SleepWait(own_connection(connection), id, at, expires_at)


def _outcomes(cursor: Any) -> str:
    """Return the join of outcomes, given as one JSON text, with their jobs."""
    # Wide types, as JSON_TABLE cuts what is too long without a word; the column then refuses it.
    columns = ", ".join(
        f"`{name}` {'longtext' if name in TEXTS else 'decimal(40)'} PATH '$.{name}'" for name in MUTABLE_COLUMNS
    )
    collation = COLLATIONS[cursor.db.mysql_is_mariadb]
    return (
        f"JSON_TABLE(%s, '$[*]' COLUMNS (id varchar(36) COLLATE {collation} PATH '$.id', {columns})) AS outcome"
        f" STRAIGHT_JOIN {JOB} AS job FORCE INDEX (PRIMARY) ON job.id = outcome.id"
    )


class SleepListener(ConnectionListener):
    """Hears of work by a SELECT that waits until somebody cuts it short."""

    def __init__(self, own: Connection) -> None:
        super().__init__(own)
        self._fall_asleep()

    def _fall_asleep(self) -> None:
        self._own.connection.send_query(_sleep(self._own, SLEEP_FOR, "work"))

    def _hears_on(self, own: Connection) -> bool:
        if not is_readable(own.connection.fileno()):
            return False
        with own.wrap_database_errors:
            was_cut = _was_cut(own)
            self._fall_asleep()
        return was_cut


class SleepWait(AnnouncedWait):
    """Hears of the end of a job by a SELECT that waits until somebody cuts it short."""

    def wait(self, seconds: float) -> None:
        with suppress(OperationalError), self.connection.cursor() as cursor:
            cursor.execute(_sleep(self.connection, seconds, _topic(self.job_id)))

    def is_late_wake_up(self, error: DatabaseError) -> bool:
        return error.args[:1] == (INTERRUPTED,)


def _sleep(connection: Any, seconds: float | str, topic: str) -> str:
    wait = WAITS[connection.mysql_is_mariadb].format(seconds)
    return f"SELECT {wait} /* mainspring {topic} */"


def _topic(job_id: str) -> str:
    return job_id.encode().hex()  # cannot end the comment


def _wake_up(connection: Connection, topics: Collection[str]) -> None:
    """Cut short the sleep of everyone who sleeps on one of these topics."""
    # Whatever they sleep in: during a deploy two releases may do it differently.
    texts = tuple(f"%/* mainspring {topic} */" for topic in topics)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
            f" AND ({' OR '.join(['info LIKE %s'] * len(texts))})",
            texts,
        )
        for (id,) in cursor.fetchall():
            with suppress(OperationalError):  # awake and gone already
                cursor.execute(f"KILL QUERY {id}")


def _can_be_woken(own: Connection, connection: Connection) -> bool:
    """Is a sleep cut short? Behind a pooler connections have other numbers, and a server may refuse to kill."""
    topic = f"test {secrets.token_hex(8)}"
    own.connection.send_query(_sleep(own, 1.0, topic))
    while not is_readable(own.connection.fileno(), 0.005):
        _wake_up(connection, [topic])
    with own.wrap_database_errors:
        return _was_cut(own)


def _was_cut(own: Connection) -> bool:
    """Take in the end of a sleep: a killed one is an error for MariaDB and the number 1 for MySQL."""
    raw = own.connection
    try:
        raw.read_query_result()
        return int(raw.store_result().fetch_row()[0][0]) == 1
    except raw.OperationalError as error:
        if error.args[0] == INTERRUPTED:
            return True
        raise


def _limit_lock_waits(alias: str, seconds: int, connection: Connection, **kwargs: Any) -> None:
    if connection.alias == alias:
        with connection.cursor() as cursor:
            # Of a row, and of a table that somebody alters.
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}")
