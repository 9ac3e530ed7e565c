"""
The outbox: how a job enqueued in a transaction reaches a store outside of it, if and only if the transaction commits.

In the job's own database an enqueue is a part of the caller's transaction. For any other store it is a row of the
outbox in that transaction, sent right after the commit, or by a worker's sweep if the process dies in between.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mainspring import job as machine
from mainspring.brokers.base import Broker
from mainspring.brokers.database.transactions import in_transaction
from mainspring.brokers.uniqueness import OnConflict
from mainspring.clock import SECOND
from mainspring.exceptions import BrokerRefused, BrokerUnavailable, KeyLocked, MainspringError, NotSentYet
from mainspring.job import Job
from mainspring.outbox_table import OutboxTable, Row, decode, on_conflict_of

logger = logging.getLogger("mainspring")

BATCH = 256
GRACE = 2 * SECOND  # what is younger is probably being sent by the process that committed it
POSTPONED = 60 * SECOND  # a job that its store refuses comes back after those that it may take
LEFT_ALONE = 60.0  # seconds without a sweep of a database that has no outbox or cannot be reached

_left_alone: dict[str, float] = {}


def deliver(
    broker: Broker, jobs: Sequence[Job], on_commit: bool | None = None, on_conflict: OnConflict | None = None
) -> Sequence[Job]:
    """
    Push new jobs such that they exist if and only if the caller's transaction commits; return what stands for each.

    With `on_commit` True they wait in this process for the commit, not in the outbox; with False for nothing. With
    `on_conflict` they have unique keys. Of one that has to wait nobody knows yet whether it meets another: if it does
    when it is sent, and that stands for it, it is stored as DISCARDED.
    """
    connection = None if on_commit is False else _open_transaction(broker)
    if connection is None:
        if on_conflict is not None:
            return broker.push_unique(jobs, on_conflict)
        broker.push(jobs)
        return jobs
    if on_commit or not broker.is_shared:
        transaction.on_commit(Sending(broker, jobs, on_conflict), using=connection.alias)
        return jobs
    _put(OutboxTable(connection.alias), broker, jobs, on_conflict)
    if connection.in_atomic_block:
        transaction.on_commit(Sending(broker, jobs, on_conflict, outbox=connection.alias), using=connection.alias)
    return jobs


def now(broker: Broker) -> int:
    """Return the time for new jobs, by their store's clock unless they wait elsewhere: then nobody asks the store."""
    return broker.now() if _open_transaction(broker) is None else broker.clock.moment()


class Sending:
    """Sends jobs after the commit; `outbox` is the alias of the database whose outbox holds them meanwhile."""

    def __init__(
        self, broker: Broker, jobs: Sequence[Job], on_conflict: OnConflict | None = None, outbox: str | None = None
    ) -> None:
        self.broker = broker
        self.jobs = jobs
        self.on_conflict = on_conflict
        self.outbox = outbox
        self.is_sent = False

    def __call__(self) -> None:
        if self.is_sent:
            return
        self.is_sent = True
        if self.outbox is None:
            _send(self.broker, self.jobs, self.on_conflict, once=False)
            return
        try:
            table = OutboxTable(self.outbox)
            # A sweep may have been faster if the transaction took long. What meets others must not be sent by two.
            holding = table.held([job.id for job in self.jobs]) if self.on_conflict else nullcontext()
            with holding as held:
                jobs = [job for job in self.jobs if held is None or job.id in held]
                _send(self.broker, jobs, self.on_conflict, once=True)
                table.delete([job.id for job in jobs])
        except MainspringError as error:
            ids = ", ".join(job.id for job in self.jobs[:10])
            logger.warning("Jobs %s stay in the outbox of DATABASES[%r] for now: %s", ids, self.outbox, error)


def _send(broker: Broker, jobs: Sequence[Job], on_conflict: OnConflict | None, *, once: bool) -> None:
    """Push jobs whose transaction has committed; those for which another stands are stored as discarded."""
    if on_conflict is None:
        broker.push(jobs, once=once)
        return
    standing = broker.push_unique(jobs, on_conflict.once_sent, once=once)
    at = broker.clock.moment()
    met = [
        machine.leave_out(job, stands, at) for job, stands in zip(jobs, standing, strict=True) if stands.id != job.id
    ]
    if met:
        broker.keep(met)


def send_waiting(broker: Broker) -> None:
    """Send what waits for the commit of this thread's transactions, as if they had been committed."""
    for _, sending in list(_waiting(broker)):
        sending()


def waiting_jobs(broker: Broker) -> list[Job]:
    """Return the jobs that wait for the commit of one of this thread's transactions."""
    return [job for _, sending in _waiting(broker) for job in sending.jobs]


class Unsent(NamedTuple):
    """A job on its way to its store; it waits in the outbox of a database, or for a commit there."""

    job: Job
    database: str
    is_committed: bool


def unsent(broker: Broker, id: str) -> Job | None:
    """Return a job that is on its way to this broker, or None."""
    found = find_unsent(broker, id)
    return None if found is None else found.job


def find_unsent(broker: Broker, id: str, databases: Sequence[str] = (DEFAULT_DB_ALIAS,)) -> Unsent | None:
    """Return where a job is that is on its way to this broker, or None; look into the outboxes of these databases."""
    # By default not of all, which would open connections that nobody wants: a job is found as soon as it is sent.
    waiting = [
        Unsent(job, alias, False) for alias, sending in _waiting(broker) for job in sending.jobs if job.id == id
    ]
    if waiting or not broker.is_shared:
        return waiting[0] if waiting else None
    for table in _tables(broker, databases):
        if (job := table.get(broker.alias, id)) is not None:
            return Unsent(job, table.alias, not in_transaction(connections[table.alias]))
    return None


def raise_if_unsent(broker: Broker, id: str) -> None:
    """Raise NotSentYet when the job waits for the commit of one of this thread's transactions."""
    if any(job.id == id for job in waiting_jobs(broker)):
        raise NotSentYet(
            f"Job {id} is sent when the transaction that enqueued it commits, so nobody can have run it yet; wait for "
            "it after the transaction."
        )


def sweep(broker: Broker) -> int:
    """
    Send what processes that died after their commit left in the outboxes of other databases; return how many jobs.

    A database that has no outbox, or cannot be reached, is left alone for a minute.
    """
    if not broker.is_shared:
        return 0
    return sum(_sweep(table, broker) for table in _tables(broker, list(connections)))


def _open_transaction(broker: Broker) -> BaseDatabaseWrapper | None:
    """Return the connection whose commit decides about new jobs; None when a push is right at once."""
    # In a TestCase or with ATOMIC_REQUESTS several are open; the default database is the likeliest to matter.
    deciding = None
    for connection in connections.all(initialized_only=True):
        if not in_transaction(connection):
            continue
        if connection.alias == broker.using:
            return None
        if deciding is None or connection.alias == DEFAULT_DB_ALIAS:
            deciding = connection
    return deciding


def _waiting(broker: Broker) -> Iterator[tuple[str, Sending]]:
    """Yield what waits for commits of this thread, with the alias of the database."""
    for connection in connections.all(initialized_only=True):
        for _, hook, *_ in connection.run_on_commit:
            if isinstance(hook, Sending) and hook.broker is broker and not hook.is_sent:
                yield connection.alias, hook


def _put(table: OutboxTable, broker: Broker, jobs: Sequence[Job], on_conflict: OnConflict | None) -> None:
    try:
        table.insert(broker.alias, jobs, on_conflict)
    except BrokerUnavailable as error:
        raise BrokerUnavailable(
            f"A job for TASKS[{broker.alias!r}] in a transaction of DATABASES[{table.alias!r}] needs an outbox there; "
            f"its database router must allow the app mainspring. {error}"
        ) from error


def _tables(broker: Broker, databases: Sequence[str]) -> Iterator[OutboxTable]:
    """Return the outboxes that these databases have for jobs of this broker."""
    for alias in databases:
        if alias == broker.using or _left_alone.get(alias, 0.0) > time.monotonic():
            continue
        table = OutboxTable(alias)
        try:
            exists = table.exists()
        except BrokerUnavailable as error:
            logger.warning("The outbox of DATABASES[%r] cannot be looked at: %s", alias, error)
            exists = False
        if exists:
            yield table
        else:
            _left_alone[alias] = time.monotonic() + LEFT_ALONE


def _sweep(table: OutboxTable, broker: Broker) -> int:
    now = broker.clock.moment()
    try:
        if not table.has_rows(broker.alias, now - GRACE):
            return 0
        with table.taken(broker.alias, now - GRACE, BATCH) as rows:
            refused = _push(broker, rows)
            table.delete([id for id, _ in rows if id not in refused])
            table.postpone(refused, now + POSTPONED)
            return len(rows) - len(refused)
    except BrokerUnavailable as error:
        # Left to the next sweep: it may be the store that is away, and that for a moment only.
        logger.warning("The outbox of DATABASES[%r] cannot be sent now: %s", table.alias, error)
        return 0


def _push(broker: Broker, rows: Sequence[Row]) -> set[str]:
    """Push the jobs of outbox rows; return the ids of those that the store refuses, or that nobody can read."""
    try:
        sent = [(decode(text), on_conflict_of(text)) for _, text in rows]
        for on_conflict in dict.fromkeys(on_conflict for _, on_conflict in sent):
            _send(broker, [job for job, how in sent if how == on_conflict], on_conflict, once=True)
        return set()
    except (BrokerRefused, KeyLocked, TypeError, ValueError) as error:
        if len(rows) == 1:
            logger.error("Job %s in the outbox for %r cannot be sent: %s", rows[0][0], broker.alias, error)
            return {rows[0][0]}
    middle = len(rows) // 2
    return _push(broker, rows[:middle]) | _push(broker, rows[middle:])
