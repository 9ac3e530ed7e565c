"""What all databases do alike: plain SQL by the names in `tables.py`, on a connection of Django."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mainspring import job as machine
from mainspring.brokers.base import KEY_WAIT, Listener, Pulse, WorkerInfo
from mainspring.brokers.database import keyed, limits, orders, reaches
from mainspring.brokers.database.questions import unanswered
from mainspring.brokers.database.shares import AWAIT_RANK
from mainspring.brokers.database.tables import (
    FINISHED,
    FINISHED_COLUMNS,
    INSTALLATION,
    JOB,
    JOB_COLUMNS,
    MUTABLE_COLUMNS,
    REACH,
    REPLACED_COLUMNS,
    WORKER,
    WORKER_COLUMNS,
)
from mainspring.job import ALONE, ENDS, LIVE, PRIORITY_HIGHEST, TIME_BITS, UNTIL_START, Job, State

if TYPE_CHECKING:
    from mainspring.brokers.database.waiting import EndListener

Connection = BaseDatabaseWrapper
T = TypeVar("T")


# A number that should not be there must make no rank that is none: MySQL would refuse all that fell due with it.
PLACE = "CASE WHEN priority > 100 THEN 0 WHEN priority < -100 THEN 200 ELSE 100 - priority END"
LAST_MOMENT = (1 << TIME_BITS) - 1
WHOLE = ALONE  # above the rank of every job that may run beside others
END = 2**63 - 1  # above every rank


# In a recursive query named `queue`: one jump in the index for each name, and an empty one at the end.
QUEUES = (
    f"SELECT min(queue_name) FROM {JOB} UNION ALL"
    f" SELECT (SELECT min(queue_name) FROM {JOB} WHERE queue_name > queue.name) FROM queue WHERE name IS NOT NULL"
)


# Without a limit SQLite would also find a text, if somebody has written one there: it sorts behind all numbers.
NEXT_DUE = (
    f"(SELECT CASE WHEN EXISTS (SELECT 1 FROM {JOB} WHERE {AWAIT_RANK}) THEN 0"
    f" ELSE (SELECT min(due_at) FROM {JOB} WHERE due_at < {END}) END)"
)


KEY_LOCKED = (
    "A transaction that has not ended has stored a job with the same unique key, or holds one that has it. Nothing was"
    " stored; enqueue again later, and keep transactions that enqueue short."
)
# What a claim writes there, besides the worker and the moment.
FREED_KEY = f"CASE WHEN SUBSTR(unique_key, 1, {len(UNTIL_START)}) = '{UNTIL_START}' THEN NULL ELSE holds_key END"


class Span(NamedTuple):
    """A stretch of one queue's line: ranks from `low` up to, not including, `high`; jobs that run alone lie behind."""

    queue_name: str
    low: int = 0
    high: int = WHOLE


class Wish(NamedTuple):
    """What a claim asks for: up to `limit` ready jobs, lowest rank first, and what is written to those taken."""

    spans: Sequence[Span]
    limit: int
    skip_tasks: Collection[str]
    worker_id: str
    token: int
    at: int


class Store:
    """
    The statements of one kind of database; PostgreSQL, SQLite and MySQL say what they do differently.

    A list is one parameter everywhere (`is_in`, `not_in`, `listed`), so each statement has one constant text.
    No statement asks the database for the time, except that of `beat`.
    """

    quote = '"'  # MySQL 8 reserves the word `rank`
    for_update = ""
    skip_locked = ""
    by_id = by_due = by_rank = by_key = by_parking = by_order = ""  # which index to walk, where that must be said
    bigint = "bigint"
    delete = ""
    is_in: str
    not_in: str
    note_in_line: Callable[[Sequence[Job]], None]  # the broker's
    on_known_id_keep = "ON CONFLICT (id) DO NOTHING"
    on_known_name_keep = "ON CONFLICT (name) DO NOTHING"
    on_known_hold_update = "ON CONFLICT (limit_name, job_id) DO UPDATE SET cost = excluded.cost"
    on_held_key_keep = "ON CONFLICT (holds_key) WHERE holds_key IS NOT NULL DO NOTHING"
    on_known_worker_update = (
        f"ON CONFLICT (id) DO UPDATE SET beat = {WORKER}.beat + 1, beat_at = excluded.beat_at, facts = excluded.facts"
    )
    on_known_reach_update = (
        "ON CONFLICT (worker_id, queue_name, low) DO UPDATE SET high = excluded.high"
        f" WHERE excluded.high > {REACH}.high"
    )
    on_known_site_update = "ON CONFLICT (id) DO UPDATE SET name = excluded.name, adopted_at = excluded.adopted_at"

    def __init__(self) -> None:
        self.job_columns = self.names(JOB_COLUMNS)
        self.finished_columns = self.names(FINISHED_COLUMNS)
        self.finished_as_job = ", ".join(
            self.names([name]) if name in FINISHED_COLUMNS else "NULL" for name in JOB_COLUMNS
        )
        self.insert = f"INSERT INTO {JOB} ({self.job_columns}) VALUES ({_marks(JOB_COLUMNS)})"
        self.insert_finished = f"INSERT INTO {FINISHED} ({self.finished_columns}) VALUES ({_marks(FINISHED_COLUMNS)})"
        self.insert_worker = f"INSERT INTO {WORKER} ({self.names(WORKER_COLUMNS)}) VALUES ({_marks(WORKER_COLUMNS)})"
        self.delete = self.delete or f"DELETE FROM {JOB} WHERE id {self.is_in}"
        changes = ", ".join(f"{self.names([name])} = %s" for name in MUTABLE_COLUMNS)
        self.update = f"UPDATE {JOB} SET {changes} WHERE id = %s"
        changes = ", ".join(f"{self.names([name])} = %s" for name in REPLACED_COLUMNS)
        self.replace = f"UPDATE {JOB} SET {changes} WHERE id = %s"

    def names(self, columns: Iterable[str], table: str = "") -> str:
        return ", ".join(f"{table}{self.quote}{name}{self.quote}" for name in columns)

    def listed(self, values: Collection[str]) -> Any:
        """Return the parameter that `is_in` and `not_in` take."""
        raise NotImplementedError

    def transaction(self, connection: Connection) -> AbstractContextManager[Any]:
        """Return a short transaction for writing, or a savepoint inside the caller's."""
        return transaction.atomic(using=connection.alias)

    def run(self, connection: Connection, verb: Callable[..., T], *arguments: Any) -> T:
        """Return `verb(connection, *arguments)`, done with what this kind of database needs around every verb."""
        return verb(connection, *arguments)

    def refuse_oversized(self, connection: Connection, texts: Iterable[str]) -> None:
        """Raise BrokerRefused for a text that is too long to be sent, where the database would not say so."""

    # Jobs come and go.

    def push(self, connection: Connection, jobs: Sequence[Job]) -> None:
        if len(jobs) == 1:
            with connection.cursor() as cursor:
                cursor.execute(self.insert, jobs[0])
        else:
            with self.transaction(connection), connection.cursor() as cursor:
                self.insert_many(cursor, jobs)

    def push_once(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Insert jobs whose id is neither live nor ended."""
        with self.transaction(connection), connection.cursor() as cursor:
            # In one order, or two who push the same jobs could wait for each other.
            self.insert_many(cursor, sorted(jobs, key=lambda job: job.id), self.on_known_id_keep)
            # Looking for ended ones first would miss a job that ends between the look and the insert.
            cursor.execute(
                f"SELECT id FROM {FINISHED} WHERE id {self.is_in} {self.for_update}",
                [self.listed([job.id for job in jobs])],
            )
            if ended := [id for (id,) in cursor.fetchall()]:
                cursor.execute(self.delete, [self.listed(ended)])

    def keep(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Insert jobs that have ended, but for those whose id is there already."""
        with self.transaction(connection), connection.cursor() as cursor:
            live = {job.id for job in self.standing(connection, [job.id for job in jobs])}
            jobs = [job for job in jobs if job.id not in live]
            on_known = self.on_known_id_keep.replace(JOB, FINISHED)
            cursor.executemany(f"{self.insert_finished} {on_known}", list(map(attrgetter(*FINISHED_COLUMNS), jobs)))

    def insert_many(self, cursor: Any, jobs: Sequence[Job], on_conflict: str = "") -> None:
        cursor.executemany(f"{self.insert} {on_conflict}", jobs)

    def insert_if_free(self, connection: Connection, job: Job) -> bool:
        """Insert a job unless another holds its key; return whether it is there."""
        with connection.cursor() as cursor:
            cursor.execute(f"{self.insert} {self.on_held_key_keep}", job)
            return bool(cursor.rowcount == 1)

    def insert_keyed(self, cursor: Any, jobs: Sequence[Job]) -> None:
        """Insert those of the jobs whose key no other holds."""
        self.insert_many(cursor, jobs, self.on_held_key_keep)

    def short_lock_waits(self, cursor: Any, seconds: float = KEY_WAIT) -> AbstractContextManager[None]:
        """Wait for no lock much longer than this in the block, and raise KeyLocked instead, if there is a choice."""
        return nullcontext()

    def rewrite(self, cursor: Any, jobs: Sequence[Job]) -> None:
        """Store jobs, locked by this transaction, that an enqueue has changed."""
        if jobs:
            cursor.executemany(self.replace, map(attrgetter(*REPLACED_COLUMNS, "id"), jobs))

    def claim(self, connection: Connection, wish: Wish) -> list[Job]:
        """Take ready jobs and return them in any order."""
        with self.transaction(connection), connection.cursor() as cursor:
            return self.take(cursor, wish)

    def take(self, cursor: Any, wish: Wish) -> list[Job]:
        """Take ready jobs in this transaction."""
        raise NotImplementedError

    def settle(self, connection: Connection, jobs: Sequence[Job], at: int) -> set[str]:
        """
        Write what became of jobs that still run under their token; return the ids that did.

        Whoever waits for no lock passes over rows that somebody else has locked.
        """
        with self.transaction(connection), connection.cursor() as cursor:
            return self.move(cursor, jobs, at)

    def settle_and_claim(self, connection: Connection, jobs: Sequence[Job], wish: Wish) -> tuple[set[str], list[Job]]:
        """Do both in one transaction: a commit waits for the disk, and is there once for both."""
        with self.transaction(connection), connection.cursor() as cursor:
            return self.move(cursor, jobs, wish.at), self.take(cursor, wish)

    def move(self, cursor: Any, jobs: Sequence[Job], at: int) -> set[str]:
        """Write what became of jobs in this transaction, at this moment."""
        limits.lock(cursor, self, jobs)
        lock = self.for_update if self.longest_wait is None else self.skip_locked
        cursor.execute(
            f"SELECT id, token FROM {JOB} {self.by_id} WHERE id {self.is_in} AND state = 'running' {lock}",
            [self.listed([job.id for job in jobs])],
        )
        held = set(cursor.fetchall())
        moved = [job for job in jobs if (job.id, job.token) in held]
        ended, back = [job for job in moved if job.state in ENDS], [job for job in moved if job.state in LIVE]
        self.finish(cursor, ended)
        keyed.let_go_on(cursor, self, ended)
        for_key = [job for job in back if machine.is_free_from_start(job)]
        plain = [job for job in back if not machine.is_free_from_start(job)]
        self.put_back(cursor, plain)
        done = {job.id for job in ended + plain} | keyed.come_back(cursor, self, for_key, at)
        self.let_others_in(cursor, [job for job in moved if job.id in done], at)
        return done

    def let_in(self, cursor: Any, jobs: Sequence[Job]) -> None:
        """Put parked jobs, locked by this transaction, back in line: at places that claims may have passed."""
        if jobs:
            self.put_back(cursor, jobs)
            self.note_in_line(jobs)  # for a claim in this transaction
            transaction.on_commit(partial(self._let_in, cursor.db, jobs), using=cursor.db.alias, robust=True)

    def _let_in(self, connection: Connection, jobs: Sequence[Job]) -> None:
        self.note_in_line(jobs)
        self.wake(connection)

    def let_others_in(self, cursor: Any, jobs: Sequence[Job], at: int) -> None:
        """Let others ask for what jobs leave that run no more, or never will."""
        limits.leave(cursor, self, jobs, at)
        orders.leave(cursor, self, jobs)

    def finish(self, cursor: Any, jobs: Sequence[Job]) -> None:
        """Move ended jobs, locked by this transaction, to the finished ones."""
        if jobs:
            ids = [job.id for job in jobs]
            cursor.executemany(self.insert_finished, map(attrgetter(*FINISHED_COLUMNS), jobs))
            cursor.execute(self.delete, [self.listed(ids)])
            self.announce(cursor, ids)

    def put_back(self, cursor: Any, jobs: Sequence[Job]) -> None:
        """Store jobs, locked by this transaction, that live on."""
        if jobs:
            cursor.executemany(self.update, map(attrgetter(*MUTABLE_COLUMNS, "id"), jobs))

    def standing(self, connection: Connection, ids: Collection[str]) -> list[Job]:
        """Return these jobs as they are, live or ended."""
        listed = self.listed(ids)
        with connection.cursor() as cursor:
            # Ended ones last, or a job that ends in between would be seen in neither table.
            cursor.execute(f"SELECT {self.job_columns} FROM {JOB} WHERE id {self.is_in}", [listed])
            live = as_jobs(cursor)
            cursor.execute(f"SELECT {self.finished_as_job} FROM {FINISHED} WHERE id {self.is_in}", [listed])
            return list({job.id: job for job in [*live, *as_jobs(cursor)]}.values())

    def get(self, connection: Connection, id: str) -> Job | None:
        found = self.standing(connection, [id])
        return found[0] if found else None

    def lock_idle(self, cursor: Any, ids: Collection[str]) -> list[Job]:
        """Return those of the jobs that nobody runs, locked until the transaction ends."""
        cursor.execute(
            f"SELECT {self.job_columns} FROM {JOB} {self.by_id} WHERE id {self.is_in} AND state <> 'running'"
            f" {self.for_update}",
            [self.listed(ids)],
        )
        return as_jobs(cursor)

    def next_due(self, connection: Connection) -> int | None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {NEXT_DUE}")
            due_at: int | None = cursor.fetchone()[0]
            return due_at

    def promote(self, connection: Connection, now: int, limit: int) -> int:
        """Make up to `limit` due jobs ready, passing over those that somebody has locked; return how many."""
        with self.transaction(connection), connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self.job_columns} FROM {JOB} {self.by_due} WHERE due_at <= %s ORDER BY due_at LIMIT %s"
                f" {self.skip_locked}",
                [now, limit],
            )
            due = as_jobs(cursor)
            waiting = [job for job in due if job.state == State.WAITING]
            gone_on = keyed.look_again(cursor, self, waiting, now) if waiting else 0
            parked = [machine.unpark(job) for job in due if job.state == State.PARKED]
            fair = [machine.promote(job) for job in due if job.state == State.DEFERRED and job.fair_key is not None]
            self.put_back(cursor, parked + fair)
            others = [job for job in due if job.state not in (State.WAITING, State.PARKED) and job.fair_key is None]
            if ids := [job.id for job in others]:
                # In this order, as MySQL sets one column after the other.
                cursor.execute(
                    f"UPDATE {JOB} {self.by_id} SET state = 'ready', {self.names(['rank'])} ="
                    f" CASE WHEN crashes > 0 THEN {ALONE} ELSE 0 END"
                    f" | (CAST({PLACE} AS {self.bigint}) << {TIME_BITS})"
                    f" | CASE WHEN due_at < 0 THEN 0 ELSE due_at & {LAST_MOMENT} END, due_at = NULL"
                    f" WHERE id {self.is_in}",
                    [self.listed(ids)],
                )
            return len(ids) + len(parked) + len(fair) + gone_on

    # Looking.

    def queue_names(self, connection: Connection) -> list[str]:
        """Return the queues that hold live jobs, by one jump in the index for each."""
        with connection.cursor() as cursor:
            cursor.execute(f"WITH RECURSIVE queue (name) AS ({QUEUES}) SELECT name FROM queue WHERE name IS NOT NULL")
            return [name for (name,) in cursor.fetchall()]

    def bands(self, connection: Connection, queues: Sequence[str]) -> list[tuple[str, int]]:
        """Return the queues and priorities that the ordinary line holds, by one jump in the index for each."""
        bands: list[tuple[str, int]] = []
        rank = self.names(["rank"])
        with connection.cursor() as cursor:
            for queue_name in queues:
                low = 0
                while True:
                    cursor.execute(
                        f"SELECT min({rank}) FROM {JOB} WHERE queue_name = %s AND {rank} >= %s AND {rank} < %s",
                        [queue_name, low, WHOLE],
                    )
                    head = cursor.fetchone()[0]
                    if head is None:
                        break
                    bands.append((queue_name, PRIORITY_HIGHEST - (head >> TIME_BITS)))
                    low = ((head >> TIME_BITS) + 1) << TIME_BITS
        return bands

    # Workers.

    def beat(
        self,
        connection: Connection,
        rows: Sequence[tuple[Any, ...]],
        queues: Collection[str] | None,
        with_ready: bool,
        with_strangers: bool,
    ) -> tuple[Pulse, int]:
        """
        Insert rows of WORKER_COLUMNS, or raise the beat of those that are known.

        Return the pulse, and the database's own time in microseconds since the epoch, read last.
        """
        names = self.queue_names(connection) if queues is None else queues
        with self.transaction(connection) if rows else nullcontext(), connection.cursor() as cursor:
            if rows:
                cursor.executemany(f"{self.insert_worker} {self.on_known_worker_update}", rows)
            workers = self.workers(connection)
            looks, listed = self.looks(with_ready), self.listed(names)
            cursor.execute(f"SELECT {', '.join(looks)}", [listed] * sum(look.count("%s") for look in looks))
            next_due, has_alone, has_ready, site = cursor.fetchone()
            questions = unanswered(connection, self, [row[0] for row in rows]) if rows else []
            strangers = reaches.strangers(connection, self) if with_strangers else set()
            pulse = Pulse(workers, next_due, bool(has_alone), site, questions, bool(has_ready), strangers)
            return pulse, self.moment(connection)

    def looks(self, with_ready: bool) -> list[str]:
        """Return what a beat selects: the next due moment, are there jobs to run alone, or others, and the site."""
        rank = self.names(["rank"])
        alone, others = (
            f"EXISTS (SELECT 1 FROM {JOB} {self.by_rank}"
            f" WHERE queue_name {self.is_in} AND {rank} >= {low} AND {rank} < {high} AND state = 'ready')"
            for low, high in ((ALONE, END), (0, ALONE))
        )
        return [NEXT_DUE, alone, others if with_ready else "NULL", f"(SELECT name FROM {INSTALLATION} WHERE id = 1)"]

    def workers(self, connection: Connection) -> list[WorkerInfo]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {self.names(WORKER_COLUMNS)} FROM {WORKER} ORDER BY id")
            return [as_worker(*row) for row in cursor.fetchall()]

    def leave(self, connection: Connection, worker_ids: Collection[str]) -> None:
        with self.transaction(connection), connection.cursor() as cursor:
            reaches.forget(cursor, self, worker_ids)
            cursor.execute(f"DELETE FROM {WORKER} WHERE id {self.is_in}", [self.listed(worker_ids)])

    def adopt(self, connection: Connection, site: str, at: int) -> None:
        """Write the one row that says whose the store is."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {INSTALLATION} (id, name, adopted_at) VALUES (1, %s, %s) {self.on_known_site_update}",
                [site, at],
            )

    can_lock_readers_out = False  # may a transaction that writes keep others from reading?
    has_clock = True  # of its own, not that of the machine of whoever asks
    now: str  # the database's own time in microseconds since the epoch, as a part of a statement
    select_moment: str

    def moment(self, connection: Connection) -> int:
        """Return the database's own time in microseconds since the epoch."""
        connection.ensure_connection()
        # Without Django's cursor: whoever counts the queries of an enqueue shall not find one more once a minute.
        with connection.wrap_database_errors, closing(connection.connection.cursor()) as cursor:
            cursor.execute(self.select_moment)
            return int(cursor.fetchone()[0])

    # Leases.

    can_write_beside = True  # on another connection, while a transaction that has written is open on this one

    def is_busy(self, error: DatabaseError) -> bool:
        """Does this error only say that somebody else writes?"""
        return False

    # Calling and hearing.

    can_wake = True

    def wake(self, connection: Connection) -> None:
        """Call those who listen for work."""

    def listen(self, connection: Connection) -> Listener:
        """Return a listener for work, on a connection of its own."""
        raise NotImplementedError

    # A worker in trouble.

    can_always_beat = True
    longest_wait: float | None = None  # seconds, where `limit_waits` has been called

    def lifeline_folder(self, connection: Connection) -> Path | None:
        """Return where to keep what shows that workers live, None for a place of the machine's."""
        return None

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """Give up waiting for a lock, or for the server to take a connection, after about so many seconds."""
        self.longest_wait = seconds
        options = connection.settings_dict["OPTIONS"]
        wanted = math.ceil(seconds)
        options["connect_timeout"] = min(wanted, int(options.get("connect_timeout") or wanted))  # 0 is for ever
        options.pop("pool", None)  # which makes its users wait for half a minute; one thread needs none
        connection.close()

    def announce(self, cursor: Any, ids: Collection[str]) -> None:
        """Tell those who wait for the end of these jobs, once the transaction is committed."""

    def listen_for_end(self, connection: Connection, id: str, at: int, expires_at: int) -> "EndListener":
        """Return what waits for the end of a job, and let others know until `expires_at` that somebody does."""
        raise NotImplementedError


def _marks(columns: Collection[str]) -> str:
    return ", ".join(["%s"] * len(columns))


def as_worker(id: str, beat: int, started_at: int, beat_at: int, facts: str) -> WorkerInfo:
    """Return the worker of a row of WORKER_COLUMNS; one whose facts cannot be read has none, and all others beat."""
    try:
        known = json.loads(facts)
    except (ValueError, RecursionError):
        known = None
    return WorkerInfo(id, beat, started_at, beat_at, known if isinstance(known, dict) else {})


def as_json(jobs: Sequence[Job], columns: Sequence[str]) -> str:
    """Return these columns of the jobs as one JSON text, a list of objects."""
    values = attrgetter(*columns)
    # Not ensure_ascii: what UTF-8 cannot carry is then refused by the driver.
    return json.dumps([dict(zip(columns, values(job), strict=True)) for job in jobs], ensure_ascii=False)


def as_jobs(cursor: Any) -> list[Job]:
    return list(map(Job._make, cursor.fetchall()))
