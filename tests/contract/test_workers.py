"""beat, workers and leave: the store knows which workers live."""

import threading
import time

import pytest
from django.conf import settings
from django.db import transaction

from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.database import DatabaseBroker
from mainspring.clock import SECOND, Clock
from tests.contract import jobs
from tests.contract.threads import elsewhere, together


def beats(workers):
    return {worker.id: worker.beat for worker in workers}


def test_first_beat(broker):
    """A worker is known from its first beat on, with its facts."""
    facts = {
        "host": "web-1",
        "pid": 7,
        "queues": ["mail", "очередь"],
        "nested": {"a": None, "b": [1.5, True]},
    }

    (known,) = broker.beat([WorkerInfo("w1", facts=facts)]).workers

    assert (known.id, known.beat, known.facts) == ("w1", 1, facts)
    assert known.started_at == known.beat_at > 0
    assert broker.workers() == [known]


def test_grows(broker):
    """Each beat is higher than the one before, whatever the caller believes."""
    for _ in range(3):
        broker.beat([WorkerInfo("w1"), WorkerInfo("w2", beat=50)])
    first = beats(broker.workers())

    broker.beat([WorkerInfo("w1")])

    assert beats(broker.workers()) == {"w1": first["w1"] + 1, "w2": first["w2"]}


def test_returns_everyone(broker):
    """A beat returns all workers that the store knows, those of others included."""
    elsewhere(broker, lambda: broker.beat([WorkerInfo("other")]))

    assert set(beats(broker.beat([WorkerInfo("w1")]).workers)) == {"other", "w1"}
    assert set(beats(broker.beat([]).workers)) == {"other", "w1"}


def test_keeps_the_start_and_renews_the_facts(broker):
    """The first beat sets when the worker started; the last one sets its facts and when it was seen."""
    (first,) = broker.beat([WorkerInfo("w1", facts={"running": 1, "load": 2})]).workers
    broker.clock.travel(60)

    (last,) = broker.beat([WorkerInfo("w1", facts={"running": 9})]).workers

    assert (last.started_at, last.facts) == (first.started_at, {"running": 9})
    assert last.beat_at >= first.beat_at


def test_started_before_the_first_beat(broker):
    """A worker may tell itself when it started."""
    (known,) = broker.beat([WorkerInfo("w1", started_at=5)]).workers

    assert known.started_at == 5


def test_leave(broker):
    """A worker that leaves is forgotten; the others and unknown ones are no matter."""
    broker.beat([WorkerInfo("w1"), WorkerInfo("w2"), WorkerInfo("w3")])

    broker.leave(["w1", "w3", "unheard of"])
    broker.leave([])

    assert set(beats(broker.workers())) == {"w2"}


def test_come_back(broker):
    """A worker that was forgotten begins anew with its next beat."""
    broker.beat([WorkerInfo("w1")])
    broker.leave(["w1"])

    assert beats(broker.beat([WorkerInfo("w1")]).workers) == {"w1": 1}


def test_nobody(broker):
    """Without workers there is nobody to return."""
    assert broker.workers() == []
    assert broker.beat([]).workers == []


def test_beats_at_once(broker):
    """Many can beat at the same time, also for the same workers in another order; no beat is lost."""
    workers = [WorkerInfo(f"w{n}") for n in range(5)]

    def beat(order):
        for _ in range(10):
            broker.beat(order)

    together(broker, *[lambda order=order: beat(order) for order in (workers, workers[::-1], workers, workers[2:])])

    assert beats(broker.workers()) == {"w0": 30, "w1": 30, "w2": 40, "w3": 40, "w4": 40}


def test_sets_the_clock(tables):
    """A beat sets the clock by the store's own time, so that all workers agree on what is due."""
    clock = Clock()
    clock.sync(0)
    broker = DatabaseBroker(alias="default", using="default", clock=clock)

    broker.beat([WorkerInfo("w1")])

    assert abs(clock.moment() / SECOND - time.time()) < 3600


def test_strangers_are_those_under_whom_jobs_run(broker):
    """Not those who have beaten, nor those whose jobs have ended or gone back."""
    jobs.claimed(broker, 2, worker_id="w1")
    broker.settle([jobs.succeeded(broker, job) for job in jobs.claimed(broker, 2, worker_id="w2")])
    jobs.claimed(broker, worker_id="w3")
    broker.beat([WorkerInfo("w3")])
    jobs.pushed(broker)

    assert broker.strangers() == {"w1"}


def test_held_by_finds_everything(broker):
    """Whatever the queue and the priority, whether it had run before, and in whatever order it was claimed."""
    held = jobs.claimed(broker, 2)
    held += jobs.claimed(broker, 2, queue_name="mail", priority=7)
    jobs.crashed(broker)
    held += broker.claim("w1", None, 9, alone=True)
    (retried,) = jobs.claimed(broker, priority=-100)
    broker.settle([jobs.retried(broker, retried)])
    jobs.pushed(broker, priority=100)
    broker.clock.travel(10)
    held += broker.claim("w1", None, 2)
    jobs.claimed(broker, 2, worker_id="w2")
    jobs.pushed(broker, 3)

    assert len(held) == 7
    assert sorted(broker.held_by(["w1"], 99)) == sorted(held)
    assert len(broker.held_by(["w1", "w2"], 99)) == len(held) + 2
    assert len(broker.held_by(["w1"], 3)) == 3


def test_a_worker_that_has_left_and_claims_again(broker):
    """A claim that a server ends late, when its worker had been buried, is found all the same."""
    jobs.claimed(broker)
    broker.rescue(["w1"], max_crashes=3, started=[])
    broker.leave(["w1"])

    late = broker.claim("w1", None, 1)

    assert broker.held_by(["w1"], 9) == late
    assert broker.strangers() == {"w1"}


def test_a_claim_that_ends_while_its_worker_is_forgotten(database_broker):
    """Its job is found all the same: the server ends the claim after the last look at what the worker held."""
    jobs.claimed(database_broker)  # so that the worker's reach is known
    database_broker.rescue(["w1"], max_crashes=3, started=[])
    assert database_broker.held_by(["w1"], 9) == []

    late = database_broker.claim("w1", None, 1)
    database_broker.leave(["w1"])

    assert database_broker.strangers() == {"w1"}
    assert database_broker.held_by(["w1"], 9) == late
    database_broker.rescue(["w1"], max_crashes=3, started=[])
    database_broker.leave(["w1"])
    assert database_broker.strangers() == set()


@pytest.mark.skipif(settings.DATABASE == "sqlite", reason="there claims and departures take turns")
def test_a_departure_waits_for_a_claim_under_way(database_broker):
    """Whoever forgets a worker sees what a claim has taken that commits only now."""
    jobs.claimed(database_broker)
    database_broker.rescue(["w1"], max_crashes=3, started=[])
    claimed, leaves = threading.Event(), threading.Event()

    def claim_slowly():
        with transaction.atomic():
            (job,) = database_broker.claim("w1", None, 1)
            claimed.set()
            leaves.wait(0.5)  # it cannot end before we do
            return job

    def leave():
        assert claimed.wait(30)
        database_broker.leave(["w1"])
        leaves.set()

    late, _ = together(database_broker, claim_slowly, leave)

    assert database_broker.held_by(["w1"], 9) == [late]
    assert database_broker.strangers() == {"w1"}
