"""
A property test: memory and another broker are driven side by side by random steps and must never differ.

Memory alone is checked too: every step must be a legal move, and counters never shrink.
"""

import json
import os
from itertools import repeat

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mainspring import job as machine
from mainspring.brokers.admission import Change, Demand, Level, Request, costs_of
from mainspring.brokers.base import Pulse, Question, Turn, WorkerInfo
from mainspring.brokers.memory import MemoryBroker
from mainspring.brokers.rates import parse_rate
from mainspring.brokers.uniqueness import OnConflict
from mainspring.clock import SECOND
from mainspring.exceptions import NotUnique
from mainspring.job import ENDS, MOVES, State
from tests.contract import jobs
from tests.contract.brokers import new_broker
from tests.contract.clocks import FrozenClock
from tests.contract.tables import empty_store

STEPS = 40

WORKERS = ["w1", "w2", "w3"]
QUEUES = ["default", "mail", "Mail"]
TASKS = ["app.tasks.add", "app.tasks.Add", "app.tasks.gone"]
EVERYTHING = 10_000

workers = st.sampled_from(WORKERS)
seconds = st.sampled_from([0, 1, 10, 100])
max_crashes = st.integers(0, 3)
limits = st.integers(1, 8)
some_queues = st.none() | st.lists(st.sampled_from(QUEUES), min_size=1, unique=True)
# How long ago something was made: 0 is the last of its kind.
ages = st.integers(0, 40)
new_jobs = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([0, 0, 1, 100, -100]),
        "queue_name": st.sampled_from(QUEUES),
        "task_path": st.sampled_from(TASKS),
        "max_crashes": st.none() | max_crashes,
    }
)


keyed_jobs = st.fixed_dictionaries(
    {
        "unique_key": st.builds(
            "{}:{}".format,
            st.sampled_from(["start", "finish", "finish/50000000"]),
            st.sampled_from("abc"),
        ),
        "queue_name": st.sampled_from(QUEUES),
        "task_path": st.sampled_from(TASKS),
    }
)


limited_jobs = st.fixed_dictionaries(
    {
        "limits": st.none()
        | st.dictionaries(st.sampled_from("xy"), st.integers(1, 2), min_size=1).map(
            lambda costs: json.dumps(sorted(costs.items()))
        ),
        "order_key": st.sampled_from([None, "key:a", "key:b"]),
        "fair_key": st.sampled_from([None, "1000:fair:0:mail:=a", "250:fair:0:mail:=b", "1000:fair:0:mail:=c"]),
        "blocks": st.sampled_from(["", "retrying", "deferred", "retrying deferred"]),
        "priority": st.sampled_from([0, 0, 1]),
        "queue_name": st.sampled_from(QUEUES),
        "task_path": st.sampled_from(TASKS),
    }
)
changes = st.builds(Change, is_given=st.sampled_from([None, True, False]), concurrency=st.none() | st.integers(1, 4))


def asking(job, rate):
    """Return the request of a claimed job."""
    return Request(job, [Demand(name, cost, 2, rate) for name, cost in costs_of(job)])


def pushed_unique(broker, new, on_conflict):
    """Push jobs with unique keys; return what stands for each, nothing where that is an error."""
    try:
        return broker.push_unique(new, on_conflict)
    except NotUnique:
        return []


def write(way, job, at, delay):
    """Return what a worker stores when its claim comes out in this way."""
    error = jobs.BOOM | {"attempt": job.attempts + 1}
    ways = {
        "succeed": lambda: machine.succeed(job, f'"{at}"', at, at),
        "fail": lambda: machine.fail(job, error, at, at),
        "discard": lambda: machine.fail(job, error, at, at, State.DISCARDED),
        "retry": lambda: machine.retry(job, error, at, at, at + delay * SECOND),
        "release": lambda: machine.release(job),
        "interrupt": lambda: machine.interrupt(job),
    }
    return ways[way]()


ways = st.sampled_from(["succeed", "fail", "discard", "retry", "release", "interrupt"])


class Brokers(RuleBasedStateMachine):
    """
    Drives several brokers by the same steps.

    A claim and a write are held as one job per broker, in the order of the brokers, so that each gets its own token.
    A broker may remember for some seconds up to which place in a line there was nothing to take. Time passes before
    a claim when a job may have gone back behind that place, and only then.
    """

    def __init__(self, brokers):
        super().__init__()
        self.brokers = brokers
        self.clock = brokers[0].clock
        self.ids, self.claims, self.writes, self.asked = [], [], [], []
        self.before = {}
        self.may_be_passed_over = False

    def each(self, verb):
        """Call `verb` with every broker and return the answers, which must be the same but for the tokens."""
        answers = [verb(broker) for broker in self.brokers]
        first, *others = [comparable(answer) for answer in answers]
        for broker, other in zip(self.brokers[1:], others, strict=True):
            assert other == first, type(broker).__name__
        return answers

    # Steps of those who enqueue.

    @initialize(several=st.lists(new_jobs, min_size=1, max_size=10))
    def push_ready(self, several):
        self.push(several, 0)

    @rule(several=st.lists(new_jobs, min_size=1, max_size=5), delay=seconds)
    def push(self, several, delay):
        new = []
        for facts in several:
            at = self.clock.tick()
            new.append(jobs.new(self.brokers[0], at=at, run_after=at + delay * SECOND if delay else None, **facts))
        self.each(lambda broker: broker.push(new))
        self.ids += [job.id for job in new]

    @precondition(lambda self: self.ids)
    @rule(known=st.lists(ages, min_size=1, max_size=3), facts=new_jobs)
    def push_once(self, known, facts):
        """Push known ids again together with a new one."""
        again = [jobs.new(self.brokers[0], id=id, **facts) for id in chosen(self.ids, known)]
        new = jobs.new(self.brokers[0], **facts)
        self.each(lambda broker: broker.push([*again, new], once=True))
        self.ids.append(new.id)

    @rule(several=st.lists(keyed_jobs, min_size=1, max_size=4), on_conflict=st.sampled_from(OnConflict), delay=seconds)
    def push_unique(self, several, on_conflict, delay):
        """Push jobs with unique keys, of which others may hold some."""
        new = []
        for facts in several:
            at = self.clock.tick()
            new.append(jobs.new(self.brokers[0], at=at, run_after=at + delay * SECOND if delay else None, **facts))
        self.may_be_passed_over = True  # one that is replaced may go to an early place
        standing = self.each(lambda broker: pushed_unique(broker, new, on_conflict))
        self.ids += [job.id for job in standing[0] if job.id not in self.ids]

    @precondition(lambda self: self.ids)
    @rule(wanted=st.lists(ages, min_size=1, max_size=4))
    def cancel(self, wanted):
        self.clock.tick()
        self.each(lambda broker: in_any_order(broker.cancel(chosen(self.ids, wanted))))

    # Steps of workers.

    @rule(
        worker=workers,
        queues=some_queues,
        limit=limits,
        skip=st.booleans(),
        after=st.sampled_from([0, 2]),
        alone=st.booleans(),
    )
    def claim(self, worker, queues, limit, skip, after, alone):
        self.clock.tick()
        self.clock.travel(after)
        if self.may_be_passed_over:
            self.clock.travel(10)
        self.may_be_passed_over = False
        skip_tasks = ["app.tasks.gone", "app.tasks.never"] if skip else []
        claimed = self.each(lambda broker: broker.claim(worker, queues, limit, skip_tasks, alone=alone))
        self.claims += zip(*claimed, strict=True)

    @rule(several=st.lists(limited_jobs, min_size=1, max_size=4), delay=seconds)
    def push_limited(self, several, delay):
        """Push jobs that need something of limits, or have an order."""
        new = []
        for facts in several:
            at = self.clock.tick()
            new.append(jobs.new(self.brokers[0], at=at, run_after=at + delay * SECOND if delay else None, **facts))
        self.each(lambda broker: broker.push(new))
        self.ids += [job.id for job in new]

    @precondition(lambda self: self.claims)
    @rule(which=st.lists(ages, min_size=1, max_size=6), rate=st.none() | st.just(parse_rate("2/10s")))
    def admit(self, which, rate):
        """Ask for what claims need of limits, of which some may be old."""
        self.clock.tick()
        asked = {claim[0].id: claim for claim in chosen(self.claims, which) if machine.asks_for_leave(claim[0])}
        per_broker = iter(zip(*asked.values(), strict=True)) if asked else repeat(())
        self.may_be_passed_over = True
        self.each(lambda broker: broker.admit([asking(job, rate) for job in next(per_broker)]))

    @rule(name=st.sampled_from("xy"), change=changes)
    def change_limit(self, name, change):
        self.may_be_passed_over = True
        self.each(lambda broker: broker.change_limit(name, change))

    @invariant()
    def same_limits(self):
        self.each(lambda broker: [(broker.level(name) or Level(), broker.holding(name)) for name in "xy"])

    @precondition(lambda self: self.claims)
    @rule(outcomes=st.lists(st.tuples(ages, ways, seconds), min_size=1, max_size=6))
    def settle(self, outcomes):
        """Settle claims in one go, each in its own way; some may be old, and some settled before."""
        written = self.outcomes(outcomes)
        self.settle_in_each(written)
        self.writes += written

    @precondition(lambda self: self.claims)
    @rule(
        outcomes=st.lists(st.tuples(ages, ways, seconds), max_size=6),
        worker=workers,
        queues=some_queues,
        limit=limits,
        alone=st.booleans(),
    )
    def settle_and_claim(self, outcomes, worker, queues, limit, alone):
        """Settle claims and claim anew in one go; a claim may pass over what has come back a moment ago."""
        written = [write for write in self.outcomes(outcomes) if write[0].state != State.READY]
        if self.may_be_passed_over:
            self.clock.travel(10)
        self.may_be_passed_over = False
        batches = iter(zip(*written, strict=True)) if written else repeat(())
        turns = self.each(lambda broker: broker.settle_and_claim(next(batches), worker, queues, limit, alone=alone))
        self.claims += zip(*(turn.claimed for turn in turns), strict=True)
        self.writes += written

    def outcomes(self, chosen_outcomes):
        """Return what becomes of some claims, for each of them one job per broker."""
        written = {}
        for age, way, delay in chosen_outcomes:
            (claim,) = chosen(self.claims, [age])
            at = self.clock.tick()
            written[claim[0].id] = [write(way, job, at, delay) for job in claim]
        return list(written.values())

    @precondition(lambda self: self.writes)
    @rule(old=st.lists(ages, min_size=1, max_size=6))
    def write_again(self, old):
        """Send old writes again, as a worker does whose connection was lost."""
        self.settle_in_each(list({write[0].id: write for write in chosen(self.writes, old)}.values()))

    def settle_in_each(self, written):
        self.may_be_passed_over = True
        batches = iter(zip(*written, strict=True))
        self.each(lambda broker: broker.settle(next(batches)))

    @rule(limit=limits, after=seconds)
    def promote(self, limit, after):
        self.clock.travel(after)
        self.may_be_passed_over = True
        self.each(lambda broker: broker.promote(limit))

    @rule(beating=st.lists(workers, unique=True), queues=some_queues)
    def beat(self, beating, queues):
        alive = [WorkerInfo(id, facts={"number": len(beating)}) for id in beating]
        self.each(lambda broker: broker.beat(alive, queues))

    @rule(site=st.sampled_from(["production", "staging"]))
    def adopt(self, site):
        self.each(lambda broker: broker.adopt(site))

    @rule(worker=workers, after=st.sampled_from([0, 0, 1000, 4000]))
    def ask(self, worker, after):
        self.clock.tick()
        self.clock.travel(after)
        self.asked.append([broker.ask(worker, "stack", f"{len(self.asked)}") for broker in self.brokers])

    @precondition(lambda self: self.asked)
    @rule(age=ages, text=st.sampled_from(["", "not here", "Current thread"]))
    def answer(self, age, text):
        ids = iter(*chosen(self.asked, [age]))
        self.each(lambda broker: broker.answer(next(ids), text))

    # Steps of those who clean up.

    @precondition(lambda self: self.claims)
    @rule(
        dead=st.lists(workers, min_size=1, unique=True),
        started=st.none() | st.lists(ages),
        was_killed=st.booleans(),
        was_seen=st.booleans(),
        max_crashes=max_crashes,
        batch=st.sampled_from([1, 3, 256]),
    )
    def rescue(self, dead, started, was_killed, was_seen, max_crashes, batch):
        self.clock.tick()
        self.may_be_passed_over = True
        started = started and {claim[0].id for claim in chosen(self.claims, started)}
        facts = {"started": started, "was_killed": was_killed, "was_seen": was_seen, "batch": batch}
        self.each(lambda broker: in_any_order(broker.rescue(dead, max_crashes=max_crashes, **facts)))
        self.each(lambda broker: broker.leave(dead))

    @rule(ended=st.lists(st.sampled_from(sorted(ENDS)), unique=True), age=seconds, dry_run=st.booleans())
    def prune(self, ended, age, dry_run):
        before = self.clock.tick() - age * SECOND
        self.each(lambda broker: broker.prune(ended, before, EVERYTHING, dry_run=dry_run))

    @precondition(lambda self: self.claims)
    @rule(which=st.lists(ages, max_size=3))
    def delete(self, which):
        ids = [claim[0].id for claim in chosen(self.claims, which)]
        self.each(lambda broker: broker.delete(ids))

    # What must hold after each step.

    @invariant()
    def same_store(self):
        self.each(lambda broker: broker.search(limit=EVERYTHING))
        self.each(lambda broker: in_any_order(broker.workers()))
        self.each(lambda broker: broker.questions(WORKERS))
        self.each(lambda broker: [broker.answer_to(ids[self.brokers.index(broker)]) for ids in self.asked])
        self.each(lambda broker: in_any_order(broker.counts(self.clock.moment() - 10 * SECOND)))

    @invariant()
    def legal_moves(self):
        now = {job.id: job for job in self.brokers[0].search(limit=EVERYTHING)}
        for id, before in self.before.items():
            assert id in now or before.state in ENDS
            assert id not in now or is_legal(before, now[id])
        self.before = now


def chosen(things, ages):
    """Return the things of these ages; those older than all are young again."""
    return [things[-1 - age % len(things)] for age in ages]


def is_legal(before, after):
    """Could one step, a claim with its rescue included, lead from one job to the other?"""
    if before.state in ENDS:
        return after == before
    grew = [getattr(after, name) - getattr(before, name) for name in ("attempts", "crashes", "interruptions")]
    is_move = before.state == after.state or after.state in MOVES[State(before.state)]
    return is_move and min(grew) >= 0 and sum(grew) <= 1


def comparable(answer):
    """Return an answer as it is compared: without tokens and without the store's own times."""
    match answer:
        case machine.Job():
            return answer._replace(token=answer.token and "drawn")
        case WorkerInfo():
            return answer.id, answer.beat, answer.facts
        case Pulse():
            rest = answer.next_due, answer.has_alone, answer.site, comparable(answer.questions)
            return in_any_order(comparable(answer.workers)), *rest
        case Question():
            return answer.worker_id, answer.kind, answer.body
        case Turn():
            return answer.accepted, comparable(answer.refused), comparable(answer.claimed)
        case list():
            return [comparable(each) for each in answer]
        case _:
            return answer


def in_any_order(answer):
    """Order an answer for which the contract promises no order."""
    return sorted(answer, key=lambda each: (getattr(each, "id", ""), str(each)))


@pytest.fixture
def check():
    """Run the machine on new brokers for each example: as often every time, or as often as the environment says."""
    number = os.environ.get("MAINSPRING_EXAMPLES")
    profile = settings(
        max_examples=int(number or 40),
        stateful_step_count=STEPS,
        derandomize=number is None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return lambda make_brokers: run_state_machine_as_test(lambda: Brokers(make_brokers()), settings=profile)


@pytest.mark.timeout(0)
def test_memory(check):
    """Whatever happens in whatever order, memory makes legal moves only."""
    check(lambda: [MemoryBroker("default", FrozenClock())])


@pytest.mark.timeout(0)
def test_stored(check, stored_broker):
    """Whatever happens in whatever order, the store under test does what memory does."""

    def make_brokers():
        empty_store()
        clock = FrozenClock()
        return [MemoryBroker("default", clock), as_two(new_broker(clock), new_broker(clock))]

    check(make_brokers)


def as_two(here, there):
    """Return a broker that does not learn what is new or went back, as if another process put it there."""
    here.push, here.push_keyed, here.settle, here.promote = there.push, there.push_keyed, there.settle, there.promote
    return here
