"""The broker's verbs on Redis: each is one script, and what may become of a job stays the state machine's to say."""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from mainspring import job as machine
from mainspring.brokers.admission import Change, Level, Request
from mainspring.brokers.base import Broker, Count, Listener, Pulse, Question, Risk, WorkerInfo
from mainspring.brokers.leases import Lease
from mainspring.brokers.listening import Calls, is_soon
from mainspring.brokers.redis import keyed, leases, limits, questions, scripts, shares, workers
from mainspring.brokers.redis.client import Client
from mainspring.brokers.redis.keys import Keys, end_channel, wake_channel
from mainspring.brokers.redis.listeners import RedisListener, wait_for_end
from mainspring.brokers.redis.records import (
    EXACT,
    SEPARATOR,
    TURN,
    claim_text,
    decode,
    encode,
    in_line,
    in_order,
    left_of,
    line_of,
    lost_turn,
    order_of,
    place_of,
    worker_of,
)
from mainspring.brokers.redis.risks import risks
from mainspring.brokers.redis.scripts import Script
from mainspring.brokers.store_time import StoreTime
from mainspring.brokers.uniqueness import OnConflict
from mainspring.clock import SECOND, Clock
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import ENDS, IDLE, LIVE, LOOK_AGAIN, Job, State

T = TypeVar("T")

MOST_AT_ONCE = 100_000  # jobs of one push: for 3 to 5 seconds the server does nothing else, and must answer within 10
# Jobs of one script. Lua tells long texts apart by 32 of their characters, so that with many records that are nearly
# alike it compares each with each: 20,000 took 3.8 s in one script, less than 1 s in scripts of 500.
PUSHED_AT_ONCE = 500
MOST = 2**31 - 1  # that a limit can say
CALL_EVERY = 0.005  # seconds; a call is a part of the script that pushes, and so costs hardly anything
SLICE = 1000  # jobs that are read at once


class RedisBroker(Broker):
    """Keeps jobs on the server of `url`, under keys that begin with `prefix`."""

    def __init__(self, alias: str, url: str, prefix: str, clock: Clock | None = None) -> None:
        super().__init__(alias, clock)
        self._keys = Keys.of(prefix)
        self._wake_channel = wake_channel(prefix)
        self._end_channel = end_channel(prefix, "")
        self._client = Client(alias, url, self._keys)
        self._time = StoreTime(self.clock, lambda: _moment(self._client.run(scripts.TIME)))
        self._calls = Calls(CALL_EVERY)
        self._forget_from = 0  # the cursor of Redis
        self._fair_after = ""  # the name of the fair key that was seen to last

    def now(self) -> int:
        return self._time.now()

    def push(self, jobs: Sequence[Job], *, once: bool = False) -> None:
        if not jobs:
            return
        if len(jobs) > MOST_AT_ONCE:
            raise BrokerRefused(f"{len(jobs)} jobs at once; Redis takes up to {MOST_AT_ONCE}. Nothing was stored.")
        if not once and len({job.id for job in jobs}) < len(jobs):
            raise BrokerRefused("Two of these jobs have the same id; nothing was stored.")
        now = self.clock.moment()
        call = any(is_soon(job, now) for job in jobs)
        if len(jobs) <= PUSHED_AT_ONCE:
            taken = self._run_and_call(call, scripts.PUSH, "1" if once else "", "", *_pushed(jobs))
        else:
            taken = self._push_together(jobs, once)
            if call:
                self.wake()
        if taken is not None:
            raise BrokerRefused(f"There is a job with the id {taken.decode()} already; nothing was stored.")

    def _push_together(self, jobs: Sequence[Job], once: bool) -> bytes | None:
        """Push in several scripts that are one transaction; return an id that is taken, which stops them all."""
        token = str(machine.new_token())
        guards = [] if once else [(scripts.GUARD, [token, *(job.id for job in jobs)])]
        pushes = [
            (scripts.PUSH, ["", "1" if once else "", token, *_pushed(some)]) for some in _slices(jobs, PUSHED_AT_ONCE)
        ]
        taken: bytes | None = self._client.run_together(guards + pushes)[0]
        return taken

    def keep(self, jobs: Sequence[Job]) -> None:
        for some in _slices(jobs, PUSHED_AT_ONCE):
            self._client.run(scripts.PUSH, "", "1", "", *_pushed(some))

    def push_keyed(self, jobs: Sequence[Job], on_conflict: OnConflict, *, once: bool = False) -> list[Job]:
        stored = {job.id: job for _, job in self._read([job.id for job in jobs])} if once else {}
        left = [job for job in jobs if job.id not in stored]
        call = any(is_soon(job, self.clock.moment()) for job in left)
        pushed = keyed.push(partial(self._run_and_call, call), left, on_conflict)
        return [stored.get(job.id) or pushed[job.id] for job in jobs]

    def _let_go_on(self, ids: Collection[bytes]) -> None:
        """Let jobs go on that waited for one which has ended."""
        if not ids:
            return
        now = self.clock.moment()
        waiting = [
            (record, job) for record, job in self._read([id.decode() for id in ids]) if job.state == State.WAITING
        ]
        self._move((record, job, machine.go_on(job, now)) for record, job in waiting)

    def _run_and_call(self, call: bool, script: Script, *values: Any) -> Any:
        """Return what a script returns that may put jobs in line; with `call` tell workers, once these can be seen."""
        with self._calls.made_if(call) as is_due:
            answer = self._client.run(script, self._wake_channel if is_due else "", *values)
        if call and not is_due:
            self.wake()  # whoever was called before may have looked while this was on its way
        return answer

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
        prefixes = _prefixes(queues)
        if not prefixes or limit < 1:
            return []
        text = claim_text(worker_id, token or machine.new_token(), self.clock.moment())
        ids, found, lines = self._client.run(
            scripts.CLAIM, min(limit, MOST), text, "1" if alone else "", len(prefixes), *prefixes, *skip_tasks
        )
        claim = text.encode() + b"\0"
        return [decode(id, record, claim + line) for id, record, line in zip(ids, found, lines, strict=True)]

    def settle(self, jobs: Sequence[Job]) -> set[str]:
        return self._settle(jobs, {})

    def _settle(self, jobs: Sequence[Job], believed: Mapping[str, str]) -> set[str]:
        if not jobs:
            return set()
        at = self.clock.moment()
        values = [
            value
            for job in jobs
            for value in (
                *(job.id, str(job.token), encode(job), line_of(job), *place_of(job)),
                *(
                    in_line(job) if job.state == State.PARKED else "",
                    left_of(job),
                    believed.get(job.id, ""),
                    lost_turn(job),
                ),
                *keyed.of_outcome(job, at),
            )
        ]
        call = any(job.state == State.READY for job in jobs)
        not_moved, waited, unparked = self._run_and_call(call, scripts.SETTLE, self._end_channel, *values)
        self._let_go_on(waited)
        if unparked:
            self.wake()
        refused = {id.decode() for id in not_moved}
        accepted = {job.id for job in jobs if job.id not in refused}
        if refused:
            stored = {job.id: job for _, job in self._read(refused)}
            others = [job for job in jobs if job.id in stored]
            accepted |= {job.id for job in others if machine.is_repeat(job, stored[job.id])}
        return accepted

    def admit(self, requests: Sequence[Request]) -> set[str]:
        if not requests:
            return set()
        asked = limits.admit(self._client, requests, self.clock.moment())
        self._settle(asked.parked, asked.believed)
        return asked.admitted

    def level(self, name: str) -> Level | None:
        return limits.level(self._client, name)

    def change_limit(self, name: str, change: Change) -> None:
        limits.change(self._client, name, change, self._wake_channel, self.clock.moment())

    def limits(self, after: str = "", number: int = 100) -> dict[str, Level]:
        return limits.listed(self._client, self._keys, after, number)

    def parked(self, name: str) -> int:
        return limits.parked(self._client, self._keys, name)

    def forget_limits(self) -> int:
        forgotten, self._forget_from = limits.forget(self._client, self._keys, self._forget_from, self.clock.moment())
        return forgotten

    def holding(self, name: str) -> list[str]:
        return limits.holding(self._client, name)

    def take_lease(self, name: str, slots: int) -> int | None:
        return leases.take(self._client, name, slots, self.clock.travelled)

    def renew_leases(self, held: Collection[Lease]) -> set[Lease]:
        return leases.renew(self._client, held, self.clock.travelled)

    def drop_lease(self, lease: Lease) -> bool:
        return leases.drop(self._client, lease)

    def held_by(self, worker_ids: Collection[str], limit: int) -> list[Job]:
        mine = [id for id, worker_id in self._claims() if worker_id in worker_ids]
        held = (job for _, job in self._read(mine) if job.state == State.RUNNING and job.worker_id in worker_ids)
        return list(islice(held, limit))

    def strangers(self) -> set[str]:
        holders = {worker_id for _, worker_id in self._claims()}
        return holders - {worker.id for worker in self.workers()}

    def _claims(self) -> Iterator[tuple[str, str]]:
        """Yield the id of each job that runs, with its worker; there are as many as workers can hold."""
        cursor = None
        while cursor != 0:
            cursor, page = self._client.command("HSCAN", self._keys.claims, cursor or 0, "COUNT", SLICE)
            for id, claim in page.items():
                yield id.decode(errors="replace"), worker_of(claim)

    def promote(self, limit: int) -> int | None:
        now = self.clock.moment()
        lines, ids, found, next_due = self._client.run(scripts.DUE, now, min(limit, MOST))
        due = [
            (record, _waiting_for_time(decode(id, record, line=line)))
            for line, id, record in zip(lines, ids, found, strict=True)
        ]
        self._move((record, job, _promoted(job)) for record, job in due if job.state != State.WAITING)
        self._look_again([(record, job) for record, job in due if job.state == State.WAITING], now)
        lined_up = self._line_up_fairly(limit, now) if due or next_due == b"0" else 0
        if due or lined_up:
            next_due = self._client.run(scripts.DUE, now, 0)[-1]
        return _number(next_due)

    def _line_up_fairly(self, limit: int, now: int) -> int:
        """Give ranks to jobs that wait for one; return how many."""
        found = shares.line_up(self._client, self._keys, self._fair_after, limit, now)
        shares.keep(self._client, self._keys, found.kept)
        self._fair_after = found.last
        return len(self._move(found.moves))

    def _look_again(self, waiting: Sequence[tuple[bytes, Job]], now: int) -> None:
        """Let jobs go on that wait for others which are gone, and look at the rest later."""
        gone_on = self._move((record, job, machine.go_on(job, now)) for record, job in waiting)
        left = [(record, job) for record, job in waiting if job.id not in gone_on]
        self._move((record, job, job._replace(due_at=now + LOOK_AGAIN)) for record, job in left)

    def cancel(self, ids: Collection[str]) -> list[Job]:
        at, cancelled = self.now(), []
        while ids:
            # What somebody else has moved since it was read is read again.
            found = [(record, job) for record, job in self._read(ids) if job.state in IDLE and job.task_path]
            ends = [(record, job, machine.cancel(job, at)) for record, job in found]
            moved = self._move(ends)
            cancelled += [end for _, _, end in ends if end.id in moved]
            ids = {job.id for _, job in found} - moved
        return cancelled

    def _move(self, moves: Iterable[tuple[bytes, Job, Job]]) -> set[str]:
        """Make jobs that nobody runs what they shall be, where their record is as it was; return whose was."""
        moved: set[str] = set()
        for some in _slices(list(moves), SLICE):
            values = [
                value
                for record, old, new in some
                for value in (
                    *(old.id, line_of(old), record, *keyed.stand_of(old), encode(new), *keyed.stand_of(new)),
                    left_of(new) if new.state in ENDS else "",
                )
            ]
            call = any(new.state == State.READY for _, _, new in some)
            these, waited, unparked = self._run_and_call(call, scripts.MOVE, self._end_channel, *values)
            if unparked:
                self.wake()
            moved |= {id.decode() for id in these}
            self._let_go_on(waited)
        return moved

    def get(self, id: str) -> Job | None:
        return next((job for _, job in self._read([id])), None)

    def holders(self, keys: Collection[str]) -> dict[str | None, Job]:
        ids = self._client.command("HMGET", self._keys.unique, *keys) if keys else []
        found = (job for _, job in self._read([id.decode() for id in ids if id is not None]))
        return {job.holds_key: job for job in found if job.state in LIVE and job.holds_key in keys}

    def _read(self, ids: Collection[str]) -> Iterator[tuple[bytes, Job]]:
        """Yield the records of these jobs, and the jobs as they are."""
        for some in _slices(list(dict.fromkeys(ids)), SLICE):
            for id, record, claim in zip(some, *self._client.run(scripts.READ, *some), strict=True):
                if record is not None:
                    yield record, decode(id.encode(), record, claim)

    def ahead(self, job: Job, limit: int) -> int:
        if job.rank is None:
            return 0
        return min(int(self._client.run(scripts.AHEAD, job.queue_name, in_order(job.rank))), limit)

    def head(self, order_key: str) -> str | None:
        prefix = f"{order_key}{SEPARATOR}"
        lines = (f"[{prefix}s", f"({prefix}t")
        found = self._client.command("ZRANGEBYLEX", self._keys.turns, *lines, "LIMIT", 0, 1)
        return found[0][len(prefix.encode()) + TURN :].decode(errors="replace") if found else None

    def search(
        self,
        *,
        states: Collection[str] | None = None,
        queue_name: str | None = None,
        task_path: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
    ) -> list[Job]:
        names = [part for name in (queue_name, task_path) for part in ("" if name is None else "1", name or "")]
        states = dict.fromkeys(State if states is None else map(str, states))
        lines, ids, found, claims = self._client.run(
            scripts.SEARCH, min(limit, MOST), before_id or "", *names, *states
        )
        return [
            decode(id, record, claim, line=line, state=line.partition(b"\0")[0].decode())
            for line, id, record, claim in zip(lines, ids, found, claims, strict=True)
            if record is not None
        ]

    def counts(self, ended_since: int) -> list[Count]:
        numbers, waiting = self._client.run(scripts.COUNTS, in_order(ended_since), *sorted(LIVE))
        counted: dict[tuple[str, str], int] = defaultdict(int)
        for line, number in _pairs(numbers):
            state, queue_name, _ = line.decode(errors="replace").split(SEPARATOR, 2)
            counted[queue_name, state] += number
        moments: dict[tuple[str, str], list[int]] = defaultdict(list)
        for queue_name, since in _pairs(waiting):
            moments[queue_name.decode(errors="replace"), State.READY].append(int(since, 16))
        return [Count(*key, number, min(moments[key], default=None)) for key, number in sorted(counted.items())]

    def prune(self, states: Collection[str], before: int, limit: int, *, dry_run: bool = False) -> int:
        ends = sorted(ENDS.intersection(states))
        return int(self._client.run(scripts.PRUNE, min(limit, MOST), in_order(before), "1" if dry_run else "", *ends))

    def delete(self, ids: Collection[str]) -> int:
        # An ended job moves no more: it is as it was read here, or gone.
        ended = [job for _, job in self._read(ids) if job.state in ENDS]
        deleted = 0
        for some in _slices(ended, SLICE):
            values = [value for job in some for value in (job.id, line_of(job), *place_of(job))]
            deleted += self._client.run(scripts.DELETE, *values)
        return deleted

    def beat(
        self,
        infos: Sequence[WorkerInfo],
        queues: Collection[str] | None = None,
        *,
        with_ready: bool = False,
        with_strangers: bool = False,
    ) -> Pulse:
        at = self.clock.moment()
        values = [
            value
            for info in infos
            for value in (info.id, info.beat + 1, info.started_at or at, json.dumps(info.facts))
        ]
        known, next_due, has_alone, site, asked, answered, has_ready, now = self._client.run(
            scripts.BEAT, at, "1" if with_ready else "", len(infos), *values, *_prefixes(queues)
        )
        self.clock.sync(_moment(now))
        mine = {info.id for info in infos}
        unanswered = questions.unanswered(dict(_pairs(asked)), answered)
        return Pulse(
            workers=workers.infos(dict(_pairs(known))),
            next_due=_number(next_due),
            has_alone=bool(has_alone),
            site=None if site is None else site.decode(errors="replace"),
            questions=[question for question in unanswered if question.worker_id in mine],
            has_ready=bool(has_ready),
            strangers=self.strangers() if with_strangers else set(),
        )

    def leave(self, worker_ids: Collection[str]) -> None:
        if worker_ids:
            self._client.command("HDEL", self._keys.workers, *workers.fields_of(worker_ids))

    def workers(self) -> list[WorkerInfo]:
        return workers.infos(self._client.command("HGETALL", self._keys.workers))

    def adopt(self, site: str) -> None:
        self._client.command("SET", self._keys.site, site)

    def ask(self, worker_id: str, kind: str, body: str) -> str:
        question = Question(machine.new_id(), worker_id, kind, body)
        questions.ask(self._client, question, self.now())
        return question.id

    def questions(self, worker_ids: Collection[str]) -> list[Question]:
        asked = self._client.command("HGETALL", self._keys.questions)
        unanswered = questions.unanswered(asked, self._client.command("HKEYS", self._keys.answers) if asked else [])
        return [question for question in unanswered if question.worker_id in worker_ids]

    def answer(self, id: str, text: str) -> None:
        if self._client.command("HEXISTS", self._keys.questions, id):
            self._client.command("HSET", self._keys.answers, id, text)

    def answer_to(self, id: str) -> str | None:
        text: bytes | None = self._client.command("HGET", self._keys.answers, id)
        return None if text is None else text.decode(errors="replace")

    def wait_for(self, id: str, timeout: float) -> Job | None:
        deadline = time.monotonic() + timeout
        job = self.get(id)
        if job is None or job.state in ENDS or timeout <= 0:
            return job
        return wait_for_end(self._client, f"{self._end_channel}{id}", id, lambda: self.get(id), deadline)

    def listen(self) -> Listener:
        return RedisListener(self._client, self._wake_channel)

    def wake(self) -> None:
        if self._calls.are_due():
            with suppress(BrokerUnavailable):  # what was stored is stored: workers also look by themselves
                self._client.run(scripts.CALL, self._wake_channel)

    def check(self) -> None:
        self._client.run_together([(scripts.CHECK, [self._end_channel])])  # as a push of very many is

    def risks(self) -> list[Risk]:
        return risks(self._client)

    def limit_waits(self, seconds: float) -> None:
        self._client.limit_waits(seconds)


def _pushed(jobs: Sequence[Job]) -> list[str]:
    """Return what the script PUSH wants to know of new jobs."""
    return [value for job in jobs for value in (job.id, encode(job), line_of(job), *place_of(job), order_of(job))]


def _waiting_for_time(job: Job) -> Job:
    # Nobody can read the state of a job whose record is damaged.
    return job if job.state in (State.WAITING, State.PARKED) else job._replace(state=State.DEFERRED)


def _promoted(job: Job) -> Job:
    if job.state == State.PARKED:
        return machine.unpark(job)
    # Nobody can read when one was due whose record is damaged.
    return machine.promote(job if job.due_at is not None else job._replace(due_at=0))


def _prefixes(queues: Collection[str] | None) -> list[str]:
    """Return how the lines of these queues begin."""
    return [""] if queues is None else [f"{name}{SEPARATOR}" for name in dict.fromkeys(queues)]


def _moment(answer: Sequence[Any]) -> int:
    """Return what TIME has answered as a moment."""
    seconds, microseconds = map(int, answer)
    return seconds * SECOND + microseconds


def _number(score: bytes | None) -> int | None:
    return None if score is None else int(max(-EXACT, min(float(score), EXACT)))


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
