"""The broker in memory: the state machine as it stands, and the specification of every other broker."""

import heapq
import socket
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from mainspring import job as machine
from mainspring.brokers import admission, fairness
from mainspring.brokers.admission import Change, Level, Request
from mainspring.brokers.base import QUESTIONS_KEPT, Broker, Count, Listener, Pulse, Question, WorkerInfo
from mainspring.brokers.fairness import Line, line_of
from mainspring.brokers.leases import Lease, Leases
from mainspring.brokers.uniqueness import OnConflict, decide, key_behind
from mainspring.clock import Clock
from mainspring.exceptions import BrokerRefused
from mainspring.job import ALONE, ENDS, IDLE, LIVE, LOOK_AGAIN, Job, State


class Asked(NamedTuple):
    """A question, when it was asked and what the answer was."""

    question: Question
    at: int
    answer: str | None = None


class MemoryBroker(Broker):
    """Keeps jobs in this process; they end with it. For tests and for trying things out."""

    is_shared = False

    def __init__(self, alias: str, clock: Clock | None = None) -> None:
        super().__init__(alias, clock)
        self._jobs: dict[str, Job] = {}
        self._workers: dict[str, WorkerInfo] = {}
        self._site: str | None = None
        self._asked: dict[str, Asked] = {}
        self._levels: dict[str, Level] = {}
        self._holds: dict[str, list[tuple[str, int]]] = {}
        self._fair_after = ""  # the name of the fair key that was seen to last
        self._shares: dict[str, int] = {}
        self._turns: dict[str, list[str]] = defaultdict(list)  # ids of the jobs with an order key, first come first
        self._leases = Leases()
        self._changed = threading.Condition()
        self._listeners: set[MemoryListener] = set()

    def push(self, jobs: Sequence[Job], *, once: bool = False) -> None:
        with self._changed:
            new: dict[str, Job] = {}
            for job in jobs:
                if job.id not in self._jobs:
                    new.setdefault(job.id, job)
            if len(new) < len(jobs) and not once:
                raise BrokerRefused("There is a job with this id already; nothing was stored.")
            self._store(new.values())
        self.wake()

    def keep(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            self._store(job for job in jobs if job.id not in self._jobs)

    def push_keyed(self, jobs: Sequence[Job], on_conflict: OnConflict, *, once: bool = False) -> list[Job]:
        with self._changed:
            known = {job.id: self._jobs[job.id] for job in jobs if once and job.id in self._jobs}
            standing = [known.get(job.id) or self._standing_for(job, on_conflict) for job in jobs]
            are_new = (job.id == stands.id and not once for job, stands in zip(jobs, standing, strict=True))
            if any(is_new and job.id in self._jobs for is_new, job in zip(are_new, jobs, strict=True)):
                raise BrokerRefused("There is a job with this id already; nothing was stored.")
            self._store(standing)
        self.wake()
        return standing

    def _standing_for(self, job: Job, on_conflict: OnConflict) -> Job:
        holder, waiting = self._holder_of(job.holds_key), self._holder_of(key_behind(job))
        return decide(job, holder, waiting, on_conflict, self._last_with_window_of(job))

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
        token, at = token or machine.new_token(), self.clock.moment()
        with self._changed:
            ready = [
                job
                for job in self._in_states({State.READY})
                if (queues is None or job.queue_name in queues)
                and job.task_path not in skip_tasks
                and (job.crashes > 0) == alone
            ]
            claimed = [
                machine.claim(job, worker_id, token, at)
                for job in heapq.nsmallest(limit, ready, key=lambda job: job.rank or 0)
            ]
            self._store(claimed)
        return claimed

    def settle(self, jobs: Sequence[Job]) -> set[str]:
        with self._changed:
            repeated = {job.id for job in jobs if self._is_repeat(job)}
            moved = [job for job in jobs if self._is_held(job)]
            self._store(job for job in moved if job.state in ENDS)
            gone_on = self._let_go_on(moved)
            for job in moved:
                if job.state not in ENDS:
                    self._store([job if self._may_hold(job) else machine.supersede(job, self.clock.moment())])
            gone_on += [other for job in moved for other in self._let_others_in(self._jobs[job.id])]
            self._changed.notify_all()
        if any(job.state == State.READY for job in [*moved, *gone_on]):
            self.wake()
        return repeated | {job.id for job in moved}

    def admit(self, requests: Sequence[Request]) -> set[str]:
        now = self.clock.moment()
        with self._changed:
            held = [request for request in requests if self._is_held(request.job)]
            heads = {key: self._head_of(key) for key in {request.job.order_key for request in held} if key is not None}
            names = {demand.name for request in held for demand in request.demands}
            levels = {name: self._levels.get(name, Level()) for name in names}
            awaited = {job.parked_under for job in self._in_states({State.PARKED}) if job.due_at is not None}
            done = admission.admit(held, levels, now, {name for name in names if name in awaited}, heads)
            self._levels |= done.levels
            for request in done.admitted:
                self._holds[request.job.id] = [(demand.name, demand.cost) for demand in request.demands]
            self.settle([machine.park(refusal.job, refusal.name, refusal.until) for refusal in done.refused])
        return {request.job.id for request in done.admitted}

    def _head_of(self, key: str) -> str:
        """Give every job of an order that can be seen its turn, and return whose it is."""
        turns = self._turns[key]
        new = [job for job in self._of_order(key) if job.id not in turns and machine.takes_turn(job)]
        turns += [job.id for job in sorted(new, key=lambda job: (machine.turn_since(job), job.id))]
        return turns[0]

    def _of_order(self, key: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.order_key == key]

    def level(self, name: str) -> Level | None:
        return self._levels.get(name)

    def change_limit(self, name: str, change: Change) -> None:
        with self._changed:
            self._levels[name] = change.applied_to(self._levels.get(name, Level()), self.clock.moment())
            self._unpark(name)
            # The time for which others wait may be another one now; once they have asked, they know.
            self._store(map(machine.unpark, self._parked_under(name, for_time=True)))
        self.wake()

    def limits(self, after: str = "", number: int = 100) -> dict[str, Level]:
        names = sorted(name for name in self._levels if name > after)
        return {name: self._levels[name] for name in names[:number]}

    def parked(self, name: str) -> int:
        with self._changed:
            return sum(job.parked_under == name for job in self._in_states({State.PARKED}))

    def forget_limits(self) -> int:
        now = self.clock.moment()
        with self._changed:
            idle = [
                name
                for name, level in self._levels.items()
                if admission.is_idle(level, now) and not self.holding(name) and not self.parked(name)
            ]
            for name in idle:
                del self._levels[name]
        return len(idle)

    def holding(self, name: str) -> list[str]:
        with self._changed:
            return sorted(id for id, costs in self._holds.items() if name in dict(costs))

    def _let_others_in(self, job: Job) -> list[Job]:
        """Give back what a job that runs no more held of limits, and its turn; return who may ask again."""
        for name, cost in self._holds.pop(job.id, []):
            level = self._levels[name]
            self._levels[name] = replace(level, held=level.held - cost)
        others = [other for name in admission.left_by(job) for other in self._unpark(name)]
        return others + self._leave_order(job)

    def _leave_order(self, job: Job) -> list[Job]:
        turns = self._turns.get(job.order_key or "", [])
        if machine.loses_turn(job) and job.id in turns:
            turns.remove(job.id)
        head = self._jobs.get(turns[0]) if turns else None
        if head is None or head.state != State.PARKED or head.parked_under != head.order_key:
            return []
        self._store([machine.unpark(head)])
        return [head]

    def _unpark(self, name: str) -> list[Job]:
        parked = sorted(self._parked_under(name, for_time=False), key=lambda job: (job.place or 0, job.id))
        unparked = list(map(machine.unpark, admission.next_in(self._levels.get(name, Level()), parked, name)))
        self._store(unparked)
        return unparked

    def _parked_under(self, name: str, *, for_time: bool) -> list[Job]:
        parked = (job for job in self._in_states({State.PARKED}) if job.parked_under == name)
        return [job for job in parked if (job.due_at is not None) == for_time]

    def take_lease(self, name: str, slots: int) -> int | None:
        with self._changed:
            return self._leases.take(name, slots, self.clock.moment())

    def renew_leases(self, held: Collection[Lease]) -> set[Lease]:
        with self._changed:
            return self._leases.renew(held, self.clock.moment())

    def drop_lease(self, lease: Lease) -> bool:
        with self._changed:
            return self._leases.drop(lease)

    def held_by(self, worker_ids: Collection[str], limit: int) -> list[Job]:
        with self._changed:
            return [job for job in self._in_states({State.RUNNING}) if job.worker_id in worker_ids][:limit]

    def strangers(self) -> set[str]:
        with self._changed:
            return {job.worker_id for job in self._in_states({State.RUNNING})} - self._workers.keys()

    def promote(self, limit: int) -> int | None:
        now = self.clock.moment()
        with self._changed:
            due = [job for job in self._by_due_time() if (job.due_at or 0) <= now][:limit]
            self._store([self._promoted(job, now) for job in due])
            lined_up = self._line_up_fairly(limit, now)
            next_due = self._next_due()
        if due or lined_up:
            self.wake()
        return next_due

    def _line_up_fairly(self, limit: int, now: int) -> list[Job]:
        waiting: dict[str, list[Job]] = defaultdict(list)
        for job in sorted(filter(machine.awaits_rank, self._jobs.values()), key=lambda job: (job.place or 0, job.id)):
            waiting[job.parked_under or ""].append(job)
        names = fairness.in_rotation(sorted(waiting), self._fair_after)
        jobs = [job for name in names for job in waiting[name][: fairness.share_of(limit, len(names))]]
        lined_up = fairness.lined_up(
            jobs, {line: self._head_at(line, now) for line in map(line_of, jobs)}, self._shares
        )
        self._store(lined_up)
        self._fair_after = names[-1] if names else ""
        return lined_up

    def _head_at(self, line: Line, now: int) -> int:
        """Return where the first of a line stands, that what the line has come to, or now where there is none."""
        ready = [job for job in self._in_states({State.READY}) if line_of(job) == line and job.crashes == 0]
        moments = (machine.in_line_since(job.rank or 0) for job in ready)
        return min((at for at in moments if at >= self._shares.get(line.name, 0)), default=now)

    def _next_due(self) -> int | None:
        """Return when the next job falls due; those that wait for a rank always are."""
        if any(map(machine.awaits_rank, self._jobs.values())):
            return 0
        return next((job.due_at for job in self._by_due_time()), None)

    def _by_due_time(self) -> list[Job]:
        idle = self._in_states({State.DEFERRED, State.WAITING, State.PARKED})
        waiting = [job for job in idle if job.due_at is not None]
        return sorted(waiting, key=lambda job: job.due_at or 0)

    def _promoted(self, job: Job, now: int) -> Job:
        if job.state == State.DEFERRED:
            return machine.promote(job)
        if job.state == State.PARKED:
            return machine.unpark(job)
        is_free = self._holder_of(machine.key_of(job.unique_key)) is None
        return machine.go_on(job, now) if is_free else job._replace(due_at=now + LOOK_AGAIN)

    def cancel(self, ids: Collection[str]) -> list[Job]:
        at = self.clock.moment()
        with self._changed:
            found = [self._jobs[id] for id in dict.fromkeys(ids) if id in self._jobs]
            cancelled = [machine.cancel(job, at) for job in found if job.state in IDLE]
            self._store(cancelled)
            gone_on = self._let_go_on(cancelled) + [other for job in cancelled for other in self._let_others_in(job)]
            self._changed.notify_all()
        if gone_on:
            self.wake()
        return cancelled

    def get(self, id: str) -> Job | None:
        return self._jobs.get(id)

    def holders(self, keys: Collection[str]) -> dict[str | None, Job]:
        with self._changed:
            found = {key: self._holder_of(key) for key in keys}
        return {key: job for key, job in found.items() if job is not None}

    def ahead(self, job: Job, limit: int) -> int:
        rank = job.rank or 0
        with self._changed:
            ready = [other for other in self._in_states({State.READY}) if other.queue_name == job.queue_name]
        before = [each for each in ready if (each.rank or 0) < rank and (each.rank or 0) // ALONE == rank // ALONE]
        return min(len(before), limit)

    def head(self, order_key: str) -> str | None:
        with self._changed:
            return next(iter(self._turns.get(order_key, [])), None)

    def search(
        self,
        *,
        states: Collection[str] | None = None,
        queue_name: str | None = None,
        task_path: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
    ) -> list[Job]:
        with self._changed:
            jobs = sorted(self._jobs.values(), key=lambda job: job.id, reverse=True)
        return [
            job
            for job in jobs
            if (states is None or job.state in states)
            and (queue_name is None or job.queue_name == queue_name)
            and (task_path is None or job.task_path == task_path)
            and (before_id is None or job.id < before_id)
        ][:limit]

    def counts(self, ended_since: int) -> list[Count]:
        counted: dict[tuple[str, str], list[Job]] = defaultdict(list)
        with self._changed:
            for job in self._jobs.values():
                if job.finished_at is None or job.finished_at >= ended_since:
                    counted[job.queue_name, str(job.state)].append(job)
        return [Count(*key, len(jobs), _in_line_since(jobs)) for key, jobs in sorted(counted.items())]

    def prune(self, states: Collection[str], before: int, limit: int, *, dry_run: bool = False) -> int:
        with self._changed:
            old = [job for job in self._in_states(states) if job.finished_at is not None and job.finished_at < before]
            old = sorted(old, key=lambda job: job.finished_at or 0)[:limit]
            if not dry_run:
                for job in old:
                    del self._jobs[job.id]
        return len(old)

    def delete(self, ids: Collection[str]) -> int:
        with self._changed:
            ended = {id for id in ids if id in self._jobs and State(self._jobs[id].state).is_end}
            for id in ended:
                del self._jobs[id]
        return len(ended)

    def beat(
        self,
        workers: Sequence[WorkerInfo],
        queues: Collection[str] | None = None,
        *,
        with_ready: bool = False,
        with_strangers: bool = False,
    ) -> Pulse:
        at = self.clock.moment()
        with self._changed:
            for worker in workers:
                known = self._workers.get(worker.id, worker)
                started_at = known.started_at or at
                self._workers[worker.id] = replace(worker, beat=known.beat + 1, beat_at=at, started_at=started_at)
            ready = [job for job in self._in_states({State.READY}) if queues is None or job.queue_name in queues]
            return Pulse(
                workers=list(self._workers.values()),
                next_due=self._next_due(),
                has_alone=any(job.crashes > 0 for job in ready),
                site=self._site,
                questions=self._questions({worker.id for worker in workers}),
                has_ready=with_ready and any(job.crashes == 0 for job in ready),
                strangers=self.strangers() if with_strangers else set(),
            )

    def leave(self, worker_ids: Collection[str]) -> None:
        with self._changed:
            for worker_id in worker_ids:
                self._workers.pop(worker_id, None)

    def workers(self) -> list[WorkerInfo]:
        with self._changed:
            return list(self._workers.values())

    def adopt(self, site: str) -> None:
        self._site = site

    def ask(self, worker_id: str, kind: str, body: str) -> str:
        at = self.clock.moment()
        question = Question(machine.new_id(), worker_id, kind, body)
        with self._changed:
            recent = {id: asked for id, asked in self._asked.items() if asked.at >= at - QUESTIONS_KEPT}
            self._asked = {**recent, question.id: Asked(question, at)}
        return question.id

    def questions(self, worker_ids: Collection[str]) -> list[Question]:
        with self._changed:
            return self._questions(worker_ids)

    def answer(self, id: str, text: str) -> None:
        with self._changed:
            if id in self._asked:
                self._asked[id] = self._asked[id]._replace(answer=text)

    def answer_to(self, id: str) -> str | None:
        with self._changed:
            return self._asked[id].answer if id in self._asked else None

    def wait_for(self, id: str, timeout: float) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: id not in self._jobs or State(self._jobs[id].state).is_end, timeout)
            return self._jobs.get(id)

    def listen(self) -> Listener:
        listener = MemoryListener(self._listeners)
        self._listeners.add(listener)
        return listener

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for listener in list(self._listeners):
            listener.ring()

    def check(self) -> None:
        """Memory is always there."""

    def clear(self) -> None:
        """Forget every job, worker and lease, whose they are and what was asked."""
        with self._changed:
            self._jobs.clear()
            self._workers.clear()
            self._site = None
            self._asked.clear()
            self._levels.clear()
            self._holds.clear()
            self._turns.clear()
            self._shares.clear()
            self._leases.clear()

    def _in_states(self, states: Collection[str]) -> list[Job]:
        return [job for job in self._jobs.values() if job.state in states]

    def _questions(self, worker_ids: Collection[str]) -> list[Question]:
        unanswered = [asked for asked in self._asked.values() if asked.answer is None]
        ordered = sorted(unanswered, key=lambda asked: (asked.at, asked.question.id))
        return [asked.question for asked in ordered if asked.question.worker_id in worker_ids]

    def _store(self, jobs: Iterable[Job]) -> None:
        self._jobs.update((job.id, job) for job in jobs)

    def _holder_of(self, key: str | None) -> Job | None:
        live = (job for job in self._jobs.values() if job.holds_key == key and job.state in LIVE)
        return None if key is None else next(live, None)

    def _last_with_window_of(self, job: Job) -> Job | None:
        ended = (other for other in self._in_states(ENDS) if other.unique_key == job.unique_key)
        return max(ended, key=lambda other: other.enqueued_at, default=None) if machine.window_of(job) else None

    def _may_hold(self, job: Job) -> bool:
        """Is the key free that a settled job wants to hold again, if it has given it back?"""
        if not machine.is_free_from_start(job):
            return True
        return self._holder_of(job.holds_key) is None and self._holder_of(key_behind(job)) is None

    def _let_go_on(self, jobs: Iterable[Job]) -> list[Job]:
        """Let those go on that waited behind jobs which have ended; return them."""
        ended = [job for job in jobs if job.unique_key is not None and job.state in ENDS]
        free = [job for job in ended if self._holder_of(machine.key_of(job.unique_key)) is None]
        behind = {key: self._holder_of(key) for key in map(key_behind, free)}.values()
        at = max((job.finished_at or 0 for job in ended), default=0)
        gone_on = [machine.go_on(job, at) for job in behind if job is not None]
        self._store(gone_on)
        return gone_on

    def _is_held(self, job: Job) -> bool:
        stored = self._jobs.get(job.id)
        return stored is not None and stored.state == State.RUNNING and stored.token == job.token

    def _is_repeat(self, job: Job) -> bool:
        stored = self._jobs.get(job.id)
        return stored is not None and machine.is_repeat(job, stored)


def _in_line_since(jobs: Iterable[Job]) -> int | None:
    return min((machine.in_line_since(job.rank or 0) for job in jobs if job.state == State.READY), default=None)


class MemoryListener:
    """Hears of work in this process by a pair of sockets, so that `select` can wait on it."""

    interval = 60.0
    hears_calls = True

    def __init__(self, listeners: set["MemoryListener"]) -> None:
        self._listeners = listeners
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def fileno(self) -> int:
        return self._near.fileno()

    def ring(self) -> None:
        try:
            self._far.send(b"!")
        except (BlockingIOError, OSError):
            return  # full means that it is ringing already; closed, that nobody listens any more

    def has_news(self) -> bool:
        try:
            return bool(self._near.recv(4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self._listeners.discard(self)
        self._near.close()
        self._far.close()
