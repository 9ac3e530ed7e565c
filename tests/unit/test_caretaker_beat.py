"""What a caretaker does with the answer to its beat."""

import pytest

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
