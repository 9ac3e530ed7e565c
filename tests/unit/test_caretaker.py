"""The duties of a caretaker: what it does with the answer to its beat, and with the dead."""

import json
import math

import pytest

from mainspring import job as machine
from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.memory import MemoryBroker
from mainspring.clock import SECOND
from mainspring.conf import parse
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import State, new_job
from mainspring.worker.caretaker import Caretaker, Death


class Crew:
    """The processes of a supervisor, as far as a caretaker sees them."""

    def __init__(self, *worker_ids):
        self.worker_ids = list(worker_ids)
        self.trusted_since = self.trusted_until = None
        self.announced = []
        self.wakes = self.sweeps = 0
        self.is_running = False

    def infos(self):
        return [WorkerInfo(id) for id in self.worker_ids]

    def trust(self, since, until, clock_offset):
        self.trusted_since, self.trusted_until, self.clock_offset = since, until, clock_offset

    def are_running_jobs(self):
        return self.is_running

    def wake(self):
        self.wakes += 1

    def sweep(self):
        self.sweeps += 1

    def announce(self, ids):
        self.announced += ids


class Lines:
    """Lifelines of which a test says who holds them and what they ran."""

    def __init__(self):
        self.held = {}
        self.ran = {}
        self.stopping = set()
        self.removed = []

    def is_held(self, worker_id):
        return self.held.get(worker_id)

    def started(self, worker_id):
        return self.ran.get(worker_id)

    def was_stopping(self, worker_id):
        return worker_id in self.stopping

    def remove(self, worker_id):
        self.removed.append(worker_id)


@pytest.fixture
def broker():
    return MemoryBroker("memory")


@pytest.fixture
def crew():
    return Crew("mine")


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def make(broker, crew, lines):
    def make(queues=None, **options):
        return Caretaker(broker, parse("memory", {"OPTIONS": options}), crew, lines, queues=queues)

    return make


def held(broker, worker_id, number=1, **facts):
    """Push jobs and have a worker claim them."""
    at = broker.clock.moment()
    usual = {"task_path": "a.b", "arguments": "{}", "queue_name": "default", "priority": 0, "at": at} | facts
    broker.push([new_job(**usual) for _ in range(number)])
    return broker.claim(worker_id, None, number)


def test_a_beat_tells_what_falls_due(broker, make):
    """A deferred job of which nobody has said anything is made ready when it falls due, not a beat later."""
    caretaker = make()
    caretaker.tick()
    at = broker.clock.moment()
    job = new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=at, run_after=at + 7_000_000)
    broker.push([job])
    broker.clock.travel(5.5)  # the next beat is due

    pause = caretaker.tick()
    assert pause < 1.6
    broker.clock.travel(pause)
    caretaker.tick()

    assert broker.get(job.id).state == State.READY


def test_a_beat_renews_the_trust_of_the_processes_in_themselves(broker, make, crew):
    """For less than a lease, counted from before the beat was sent."""
    before = broker.clock.elapsed()
    make(rescue_after=20).tick()

    assert before + 10 <= crew.trusted_until <= broker.clock.elapsed() + 10
    assert crew.clock_offset == (broker.clock.offset or 0)
    assert crew.sweeps == 1


@pytest.mark.parametrize(
    ("what", "wakes"), [("nothing", 0), ("a ready job", 1), ("one of another queue", 0), ("jobs that run", 1)]
)
def test_a_beat_wakes_who_may_have_missed_a_call(broker, make, crew, what, wakes):
    """And nobody for nothing: an idle process costs no look for work."""
    if "job" in what or "one" in what:
        queue_name = "other" if "another" in what else "default"
        job = new_job(task_path="a.b", arguments="{}", queue_name=queue_name, priority=0, at=broker.clock.moment())
        broker.push([job])
    if what == "jobs that run":
        broker.claim("mine", None, 1)
        crew.is_running = True

    make(queues=["default"]).tick()

    assert crew.wakes == wakes


def test_pruning_is_rare_while_there_is_nothing_to_prune(broker, make, monkeypatch):
    """An idle worker asks once in a twentieth of the time for which jobs are kept, and a busy one every minute."""
    asked, pruned = [], [0, 0, 7, 7, 0, 0]

    def prune(states, before, limit, *, dry_run):
        asked.append(round(broker.clock.elapsed()))
        return pruned.pop(0)

    monkeypatch.setattr(broker, "prune", prune)
    caretaker = make(retention={"succeeded": 7200, "failed": 86_400})
    for _ in range(900):
        caretaker.tick()
        broker.clock.travel(1)
        if not pruned:
            break

    first, second, third = asked[::2]
    assert second - first == pytest.approx(360, abs=6)
    assert third - second == pytest.approx(60, abs=6)


def test_trust_has_a_gap_where_beats_came_too_late(broker, make, crew):
    """The workers may have been taken for dead then, and what they had claimed before be another's."""
    caretaker = make(rescue_after=20)
    caretaker.tick()
    first = crew.trusted_since
    broker.clock.travel(9)
    caretaker.tick()
    assert crew.trusted_since == first
    broker.clock.travel(11)
    caretaker.tick()

    assert crew.trusted_since >= first + 20


def test_where_beats_can_be_kept_from_coming_trust_has_no_end(broker, make, crew):
    """Lifelines then tell who lives."""
    broker.can_always_beat = False
    make().tick()

    assert crew.trusted_until == math.inf


def test_a_worker_whose_lifeline_is_free_is_dead_at_once(broker, make, lines):
    """And the memory that it has left tells which of its jobs had started."""
    broker.beat([WorkerInfo("gone")])
    started, waiting = held(broker, "gone", 2)
    lines.held["gone"], lines.ran["gone"] = False, frozenset({started.id})
    make().tick()

    assert (broker.get(started.id).state, broker.get(started.id).crashes) == (State.READY, 1)
    assert (broker.get(waiting.id).state, broker.get(waiting.id).crashes) == (State.READY, 0)
    assert lines.removed == ["gone"]
    assert [worker.id for worker in broker.workers()] == ["mine"]


@pytest.mark.parametrize(("can_always_beat", "state"), [(True, State.READY), (False, State.RUNNING)])
def test_a_held_lifeline_excuses_silence_only_where_beats_can_be_kept_from_coming(
    broker, make, lines, can_always_beat, state
):
    """Elsewhere a worker that is stopped is given up like any other that is silent."""
    broker.can_always_beat = can_always_beat
    broker.beat([WorkerInfo("silent")])
    [job] = held(broker, "silent")
    lines.held["silent"] = True
    caretaker = make()
    for _ in range(4):
        caretaker.tick()
        broker.clock.travel(5)

    assert broker.get(job.id).state == state


def test_a_job_that_its_worker_was_killed_for_has_failed(broker, make, crew):
    """The row says that it held the interpreter, and where; its neighbour was interrupted."""
    late, neighbour = held(broker, "mine", 2)
    caretaker = make()
    caretaker.tick()
    caretaker.bury(
        Death("mine", frozenset({late.id, neighbour.id}), True, "killed", overrun={late.id: "  File late.py"})
    )
    crew.worker_ids.clear()
    caretaker.tick()

    job = broker.get(late.id)
    assert (job.state, job.crashes) == (State.FAILED, 0)
    assert "File late.py" in json.loads(job.errors)[0]["traceback"]
    assert broker.get(neighbour.id).interruptions == 1
    assert crew.announced == [late.id]


def test_a_job_that_its_worker_was_killed_for_is_found_among_many(broker, make, crew):
    """And its stack is cut like every traceback."""
    *_, late = held(broker, "mine", 600)
    caretaker = make(max_traceback=1000)
    caretaker.bury(Death("mine", frozenset({late.id}), True, "killed", overrun={late.id: "line\n" * 1000}))
    crew.worker_ids.clear()
    caretaker.tick()

    job = broker.get(late.id)
    assert job.state == State.FAILED
    assert len(json.loads(job.errors)[0]["traceback"]) < 1300


def test_what_must_run_alone_in_a_queue_of_others_is_their_affair(broker, make, crew):
    """A process for it would be started in vain."""
    held(broker, "mine", queue_name="other")
    caretaker = make(queues=["default"])
    caretaker.tick()
    caretaker.bury(Death("mine", None, False, "died"))
    crew.worker_ids.clear()
    caretaker.tick()

    assert not caretaker.has_alone


def test_jobs_that_cannot_be_taken_back_keep_nobody_from_anything_else(broker, make, crew, lines, monkeypatch):
    """Beats go on, other dead workers are taken care of, and what is due is promoted."""
    [stuck], [other] = held(broker, "stuck"), held(broker, "other")
    broker.beat([WorkerInfo("stuck"), WorkerInfo("other")])
    lines.held |= {"stuck": False, "other": False}
    settle = broker.settle

    def refuse(jobs):
        if stuck.id in {job.id for job in jobs}:
            raise BrokerRefused("too large")
        return settle(jobs)

    monkeypatch.setattr(broker, "settle", refuse)
    caretaker = make()
    for _ in range(4):
        caretaker.tick()
        broker.clock.travel(2)

    assert broker.get(other.id).state == State.READY
    assert next(worker.beat for worker in broker.workers() if worker.id == "mine") == 2
    assert crew.wakes > 0


def test_what_cannot_be_taken_back_is_tried_once_a_second_however_often_somebody_looks(
    broker, make, monkeypatch, caplog
):
    """It is no outage, is said once, and what falls due meanwhile does not wait for it."""
    held(broker, "stuck")
    tries = []

    def fail(jobs):
        tries.append(jobs)
        raise BrokerUnavailable("locked")

    monkeypatch.setattr(broker, "settle", fail)
    caretaker = make()
    caretaker.bury(Death("stuck", None, False, "died"))
    for _ in range(10):
        pause = caretaker.tick()
    assert (len(tries), caretaker.is_away) == (1, False)
    assert 0.0 < pause <= 1.0
    caretaker.expect(broker.clock.moment() + SECOND // 10)
    assert caretaker.tick() <= 0.1
    broker.clock.travel(1.1)
    caretaker.tick()

    assert len(tries) == 2
    assert caplog.text.count("cannot be taken back yet") == 1


def test_old_jobs_that_cannot_be_pruned_are_no_outage(broker, make, monkeypatch, caplog):
    """Somebody has locked one of them, say; all else goes on."""

    def fail(*arguments, **flags):
        raise BrokerUnavailable("locked")

    monkeypatch.setattr(broker, "prune", fail)
    caretaker = make()

    assert caretaker.tick() > 1.0
    assert not caretaker.is_away
    assert "could not be pruned" in caplog.text


def test_it_is_known_when_something_must_run_alone(broker, make, crew):
    """Right after a burial, and with every beat."""
    [job] = held(broker, "mine")
    caretaker = make()
    caretaker.tick()
    assert not caretaker.has_alone
    caretaker.bury(Death("mine", None, False, "died"))
    caretaker.tick()
    assert caretaker.has_alone

    [job] = broker.claim("other", None, 1, alone=True)
    broker.settle([machine.succeed(job, "null", 0, 0)])
    broker.clock.travel(6)
    caretaker.tick()
    assert not caretaker.has_alone


def test_what_was_claimed_for_a_worker_that_is_no_longer_known_is_given_back(broker, make):
    """Its claim took effect after it had been buried; one look is not enough, as it may be about to beat."""
    [late] = held(broker, "buried")
    [inline] = held(broker, "inline")
    caretaker = make()
    caretaker.tick()
    assert broker.get(late.id).state == State.RUNNING
    broker.clock.travel(31)
    caretaker.tick()

    job = broker.get(late.id)
    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.READY, 0, 0, 0)
    assert broker.get(inline.id).state == State.RUNNING


def test_old_jobs_are_pruned_for_half_of_the_time_while_there_are_more(broker, make, monkeypatch):
    """A fixed pause would let jobs end faster than they are pruned."""

    def prune_for_a_while(states, before, limit, *, dry_run):
        broker.clock.travel(0.2)
        return limit

    monkeypatch.setattr(broker, "prune", prune_for_a_while)

    assert make().tick() == pytest.approx(0.4, abs=0.1)
