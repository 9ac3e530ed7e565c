"""The broker's verbs on a database: what is written, when, and who is told."""

import json
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from django.db import connections, transaction

from mainspring import job as machine
from mainspring.brokers.admission import Change, Level, Request
from mainspring.brokers.base import Broker, Count, Listener, Pulse, Question, Turn, WorkerInfo
from mainspring.brokers.database import (
    errors,
    keyed,
    leases,
    limits,
    listings,
    orders,
    questions,
    reaches,
    retention,
    shares,
)
from mainspring.brokers.database.cursor import Cursor
from mainspring.brokers.database.mysql import MySQL
from mainspring.brokers.database.postgresql import PostgreSQL
from mainspring.brokers.database.sqlite import SQLite
from mainspring.brokers.database.store import END, Connection, Span, Store, Wish
from mainspring.brokers.database.transactions import in_transaction
from mainspring.brokers.database.waiting import wait_for
from mainspring.brokers.leases import Lease
from mainspring.brokers.listening import Calls, is_soon
from mainspring.brokers.store_time import StoreTime
from mainspring.brokers.uniqueness import OnConflict
from mainspring.clock import SECOND, Clock
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import ALONE, ENDS, Job, State

T = TypeVar("T")

STORES: dict[str, type[Store]] = {"postgresql": PostgreSQL, "sqlite": SQLite, "mysql": MySQL}
LOCKED_FOR = SECOND // 4  # how long not to look again for due jobs of which somebody holds every row
LONGEST_WAIT = 86_400  # seconds; who waits longer is told up to BACKSTOP seconds late


class Look(NamedTuple):
    """
    Where and when a claim looks: at the moment `at`, for which the clock's `elapsed` gave `began`.

    `generation` is that of the cursor that said so.
    """

    queues: list[str]
    spans: Sequence[Span]
    at: int
    began: float
    alone: bool
    generation: int


class DatabaseBroker(Broker):
    """Keeps jobs in the tables of one database, `using` being its alias in DATABASES."""

    is_transactional = True

    def __init__(self, alias: str, using: str = "default", clock: Clock | None = None) -> None:
        super().__init__(alias, clock)
        self.using: str = using
        vendor = connections[using].vendor
        if vendor not in STORES:
            raise BrokerUnavailable(f"DATABASES[{using!r}]: Mainspring cannot keep jobs in {vendor}.")
        self._store = STORES[vendor]()
        self._cursor = Cursor()
        self._fair_after = ""  # the name of the fair key that was seen to last
        self._forgot_up_to = ""  # the name of the limit that was looked at last
        self._store.note_in_line = self._note_in_line
        self._calls = Calls()
        self._time = StoreTime(self.clock, lambda: self._run(self._store.moment))

    def _note_in_line(self, jobs: Sequence[Job]) -> None:
        self._cursor.line_up(jobs, self.clock.moment())

    def now(self) -> int:
        return self._time.now() if self._store.has_clock else self.clock.moment()

    def push(self, jobs: Sequence[Job], *, once: bool = False) -> None:
        if not jobs:
            return
        self._run(self._store.push_once if once else self._store.push, jobs)
        now = self.clock.moment()
        self._cursor.line_up(jobs, now)
        if any(is_soon(job, now) for job in jobs):
            self.wake()

    def keep(self, jobs: Sequence[Job]) -> None:
        self._run(self._store.keep, jobs)

    def push_keyed(self, jobs: Sequence[Job], on_conflict: OnConflict, *, once: bool = False) -> list[Job]:
        if not jobs:
            return []
        self._store.refuse_oversized(connections[self.using], (job.arguments for job in jobs))
        standing = self._run(keyed.push, self._store, jobs, on_conflict, once)
        now = self.clock.moment()
        self._cursor.line_up(standing, now)
        if any(is_soon(job, now) for job in standing):
            self.wake()
        if waiting := [job.id for job in standing if job.state == State.WAITING]:
            # What they wait for may have ended before others saw them.
            transaction.on_commit(
                partial(self._run, keyed.look, self._store, waiting, now), using=self.using, robust=True
            )
        return standing

    def claim(
        self,
        worker_id: str,
        queues: Collection[str] | None,
        limit: int,
        skip_tasks: Collection[str] = (),
        *,
        alone: bool = False,
        token: int | None = None,
    ) -> list[Job]:
        look = self._look(queues, skip_tasks, alone)
        if not look.spans or limit < 1:
            return []
        wish = Wish(look.spans, limit, skip_tasks, worker_id, token or machine.new_token(), look.at)
        return self._learnt(look, wish, self._run(self._store.claim, wish))

    def settle(self, jobs: Sequence[Job]) -> set[str]:
        return self._settled(jobs, self._settle(jobs)) if jobs else set()

    def _settle(self, jobs: Sequence[Job]) -> set[str]:
        return self._run(self._store.settle, jobs, self.clock.moment())

    def settle_and_claim(
        self,
        outcomes: Sequence[Job],
        worker_id: str,
        queues: Collection[str] | None,
        limit: int,
        skip_tasks: Collection[str] = (),
        *,
        alone: bool = False,
        token: int | None = None,
    ) -> Turn:
        look = self._look(queues, skip_tasks, alone) if outcomes and limit > 0 else None
        if look is not None and look.spans:
            wish = Wish(look.spans, limit, skip_tasks, worker_id, token or machine.new_token(), look.at)
            try:
                moved, jobs = self._run(self._store.settle_and_claim, outcomes, wish)
            except BrokerRefused:
                pass  # nothing has happened; then one by one, and the claim after them
            else:
                claimed = self._learnt(look, wish, jobs)  # first, as what has gone back may be forgotten again
                return Turn(self._settled(outcomes, moved), [], claimed)
        return super().settle_and_claim(outcomes, worker_id, queues, limit, skip_tasks, alone=alone, token=token)

    def _look(self, queues: Collection[str] | None, skip_tasks: Collection[str], alone: bool) -> Look:
        """Return where a claim looks that begins now."""
        names = list(dict.fromkeys(self._run(self._store.queue_names) if queues is None else queues))
        at, began = self.clock.moment(), self.clock.elapsed()
        if alone:
            return Look(names, [Span(queue, ALONE, END) for queue in names], at, began, alone, 0)
        spans, generation = self._cursor.spans(names, skip_tasks, began)
        return Look(names, spans, at, began, alone, generation)

    def _learnt(self, look: Look, wish: Wish, claimed: list[Job]) -> list[Job]:
        """Have the cursor learn from what a look has shown, and return the jobs in order."""
        jobs = sorted(claimed, key=_rank)
        if look.alone:
            return jobs
        bands = {(job.queue_name, job.priority) for job in jobs}
        if len(look.spans) == len(look.queues) and not any(span.low for span in look.spans):
            self._cursor.looked(look.began, self.clock.elapsed())
            bands |= set(self._run(self._store.bands, look.queues) if wish.skip_tasks else ())
        self._cursor.learn(look.queues, bands, jobs, wish.limit, look.at, look.generation)
        return jobs

    def _settled(self, jobs: Sequence[Job], moved: set[str], *, is_last: bool = False) -> set[str]:
        """Return which outcomes are accepted, when those of `moved` have been written just now."""
        if ready := [job for job in jobs if job.state == State.READY and job.id in moved]:
            self._cursor.line_up(ready, self.clock.moment())
            self.wake()
        others = {job.id: job for job in jobs if job.id not in moved}
        if not others:
            return moved
        standing = {job.id: job for job in self._run(self._store.standing, list(others))}
        accepted = moved | {id for id, job in standing.items() if machine.is_repeat(others[id], job)}
        missed = [others[id] for id, job in standing.items() if _is_claim_of(job, others[id])]
        if missed and not is_last:
            # Somebody has changed something else of these meanwhile, and PostgreSQL looked where they had been.
            accepted |= self._settled(missed, self._settle(missed), is_last=True)
        return accepted

    def admit(self, requests: Sequence[Request]) -> set[str]:
        return self._run(limits.admit, self._store, requests, self.clock.moment()) if requests else set()

    def level(self, name: str) -> Level | None:
        return self._run(limits.level, self._store, name)

    def change_limit(self, name: str, change: Change) -> None:
        self._run(limits.change, self._store, name, change, self.clock.moment())
        self._cursor.forget()

    def limits(self, after: str = "", number: int = 100) -> dict[str, Level]:
        return self._run(limits.listed, self._store, after, number)

    def parked(self, name: str) -> int:
        return self._run(limits.parked, self._store, name)

    def forget_limits(self) -> int:
        forgotten, self._forgot_up_to = self._run(limits.forget, self._store, self._forgot_up_to, self.clock.moment())
        return forgotten

    def holding(self, name: str) -> list[str]:
        return self._run(limits.holding, name)

    def take_lease(self, name: str, slots: int) -> int | None:
        return self._run_apart(leases.take, self._store, name, slots, self.clock.travelled, to_take=True)

    def renew_leases(self, held: Collection[Lease]) -> set[Lease]:
        return self._run_apart(leases.renew, self._store, held, self.clock.travelled)

    def drop_lease(self, lease: Lease) -> bool:
        return self._run_apart(leases.drop, lease)

    def held_by(self, worker_ids: Collection[str], limit: int) -> list[Job]:
        return self._run(reaches.held_by, self._store, worker_ids, limit)

    def strangers(self) -> set[str]:
        return self._run(reaches.strangers, self._store)

    def promote(self, limit: int) -> int | None:
        now = self.clock.moment()
        due_at = self._run(self._store.next_due)
        if due_at is None or due_at > now:
            return due_at
        promoted = self._run(self._store.promote, now, limit) + self._line_up_fairly(limit, now)
        if promoted:
            self._cursor.forget()
            self.wake()
        due_at = self._run(self._store.next_due)
        if due_at is not None and not promoted:
            return max(due_at, now + LOCKED_FOR)
        return due_at

    def _line_up_fairly(self, limit: int, now: int) -> int:
        """Give ranks to jobs that wait for one; return how many."""
        lined_up, self._fair_after = self._run(shares.line_up, self._store, self._fair_after, limit, now)
        return len(lined_up)

    def cancel(self, ids: Collection[str]) -> list[Job]:
        return self._run(self._cancel, ids, self.now())

    def _cancel(self, connection: Connection, ids: Collection[str], at: int) -> list[Job]:
        with self._store.transaction(connection), connection.cursor() as cursor:
            limits.lock(cursor, self._store, self._store.standing(connection, ids))
            cancelled = [machine.cancel(job, at) for job in self._store.lock_idle(cursor, ids)]
            self._store.finish(cursor, cancelled)
            keyed.let_go_on(cursor, self._store, cancelled)
            self._store.let_others_in(cursor, cancelled, at)
        return cancelled

    def get(self, id: str) -> Job | None:
        return self._run(self._store.get, id)

    def holders(self, keys: Collection[str]) -> dict[str | None, Job]:
        return self._run(keyed.holders, self._store, keys)

    def ahead(self, job: Job, limit: int) -> int:
        return 0 if job.rank is None else self._run(listings.ahead, self._store, job.queue_name, job.rank, limit)

    def head(self, order_key: str) -> str | None:
        return self._run(orders.head, self._store, order_key)

    def search(
        self,
        *,
        states: Collection[str] | None = None,
        queue_name: str | None = None,
        task_path: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
    ) -> list[Job]:
        return self._run(listings.search, self._store, states, queue_name, task_path, limit, before_id)

    def counts(self, ended_since: int) -> list[Count]:
        return sorted(
            (Count(*row) for row in self._run(listings.counts, self._store, ended_since)),
            key=lambda count: (count.queue_name, count.state),
        )

    def prune(self, states: Collection[str], before: int, limit: int, *, dry_run: bool = False) -> int:
        states = [str(state) for state in states]
        return self._run(retention.prune, states, before, limit, dry_run) if states else 0

    def delete(self, ids: Collection[str]) -> int:
        return self._run(retention.delete, self._store, ids) if ids else 0

    def beat(
        self,
        workers: Sequence[WorkerInfo],
        queues: Collection[str] | None = None,
        *,
        with_ready: bool = False,
        with_strangers: bool = False,
    ) -> Pulse:
        at = self.clock.moment()
        rows = [
            (worker.id, worker.beat + 1, worker.started_at or at, at, json.dumps(worker.facts))
            for worker in sorted(workers, key=lambda worker: worker.id)  # in one order, or two may deadlock
        ]
        pulse, moment = self._run(self._store.beat, rows, queues, with_ready, with_strangers)
        self.clock.sync(moment)
        return pulse

    def leave(self, worker_ids: Collection[str]) -> None:
        self._run(self._store.leave, worker_ids)

    def workers(self) -> list[WorkerInfo]:
        return self._run(self._store.workers)

    def adopt(self, site: str) -> None:
        self._run(self._store.adopt, site, self.now())

    def ask(self, worker_id: str, kind: str, body: str) -> str:
        question = Question(machine.new_id(), worker_id, kind, body)
        self._run(questions.ask, self._store, question, self.now())
        return question.id

    def questions(self, worker_ids: Collection[str]) -> list[Question]:
        return self._run(questions.unanswered, self._store, worker_ids)

    def answer(self, id: str, text: str) -> None:
        self._run(questions.answer, self._store, id, text)

    def answer_to(self, id: str) -> str | None:
        return self._run(questions.answer_to, id)

    def wait_for(self, id: str, timeout: float) -> Job | None:
        deadline = time.monotonic() + timeout
        job = self.get(id)
        if job is None or job.state in ENDS or timeout <= 0:
            return job
        at = self.now()
        expires_at = at + int(min(timeout, LONGEST_WAIT) * SECOND)
        return self._run(wait_for, self._store, id, deadline, at, expires_at)

    def listen(self) -> Listener:
        return errors.run(connections[self.using], self._store.listen)

    def wake(self) -> None:
        if connections[self.using].in_atomic_block:
            transaction.on_commit(self._call, using=self.using)  # nobody could see the jobs yet
        else:
            self._call()

    def _call(self) -> None:
        # Not a part of `wake`: a TestCase runs the hooks inside its transaction, where one would lead to the next.
        if not self._store.can_wake or not self._calls.are_due():
            return
        with suppress(BrokerUnavailable):  # what was stored is stored: workers also look by themselves
            errors.run(connections[self.using], self._store.wake)

    def check(self) -> None:
        self._run(self._store.next_due)

    @property
    def can_always_beat(self) -> bool:  # type: ignore[override]
        return self._store.can_always_beat

    @property
    def lifeline_folder(self) -> Path | None:  # type: ignore[override]
        return self._store.lifeline_folder(connections[self.using])

    def is_hidden(self, id: str) -> bool:
        return in_transaction(connections[self.using]) and self._run(listings.is_hidden, self._store, id)

    def limit_waits(self, seconds: float) -> None:
        self._store.limit_waits(connections[self.using], seconds)

    def close(self) -> None:
        connections[self.using].close()

    def _run_apart(self, verb: Callable[..., T], *arguments: Any, to_take: bool = False) -> T:
        """Do it outside of the caller's transaction."""
        with leases.apart(connections[self.using], self._store, to_take=to_take) as connection:
            done: T = errors.run(connection, self._store.run, verb, *arguments)
            return done

    def _run(self, verb: Callable[..., T], *arguments: Any) -> T:
        done: T = errors.run(connections[self.using], self._store.run, verb, *arguments)
        return done


def _is_claim_of(stored: Job, outcome: Job) -> bool:
    """Does this job still run by the claim that the outcome is of?"""
    return stored.state == State.RUNNING and stored.token == outcome.token


def _rank(job: Job) -> int:
    return job.rank or 0
