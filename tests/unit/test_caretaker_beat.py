"""What a caretaker does with the answer to its beat."""

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.memory import MemoryBroker
from mainspring.conf import parse
from mainspring.job import State, new_job
from mainspring.worker.caretaker import Caretaker


@pytest.fixture
def broker():
    return MemoryBroker("memory")


@pytest.fixture
def caretaker(broker):
    caretaker = Caretaker(broker, parse("memory", {}), on_ready=lambda: None, on_ended=lambda jobs: None)
    caretaker.tick()
    return caretaker


def test_a_beat_tells_what_falls_due(broker, caretaker):
    """A deferred job of which nobody has said anything is made ready when it falls due, not a beat later."""
    at = broker.clock.moment()
    job = new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=at, run_after=at + 7_000_000)
    broker.push([job])
    broker.clock.travel(5.5)  # the next beat is due

    pause = caretaker.tick()
    assert pause < 1.6
    broker.clock.travel(pause)
    caretaker.tick()

    assert broker.get(job.id).state == State.READY


@pytest.fixture
def held(broker, monkeypatch):
    """A job that a worker holds which beats no more, and what its lifeline is then said to show."""
    broker.push([new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=1)])
    broker.beat([WorkerInfo("stranger")])
    broker.claim("stranger", None, 1)
    answers = {}
    monkeypatch.setattr(broker, "has_lifeline", answers.get)
    return answers


def state_after(broker, caretaker, seconds):
    """Return the job's state after the caretaker has looked for so many seconds."""
    for _ in range(seconds):
        caretaker.tick()
        broker.clock.travel(1)
    caretaker.tick()
    (job,) = broker.search()
    return job.state


def test_a_lifeline_that_nobody_holds_is_a_death(broker, caretaker, held):
    """Its jobs are taken back at the next beat, without a lease."""
    held["stranger"] = False

    assert state_after(broker, caretaker, 5) == State.READY
    assert broker.workers() == []


def test_a_lifeline_that_somebody_holds_is_a_life(broker, caretaker, held):
    """However long the worker cannot beat."""
    held["stranger"] = True

    assert state_after(broker, caretaker, 60) == State.RUNNING


def test_without_a_lifeline_the_beat_decides(broker, caretaker, held):
    """Silence for a whole lease is a death, counted from when the lifeline was last held."""
    held["stranger"] = True
    state_after(broker, caretaker, 60)
    held["stranger"] = None

    assert state_after(broker, caretaker, 8) == State.RUNNING
    assert state_after(broker, caretaker, 12) == State.READY
