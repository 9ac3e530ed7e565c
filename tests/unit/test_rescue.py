"""What a rescue does when a store will not have it, and what it writes about it."""

import json

import pytest

from mainspring import job as machine
from mainspring.brokers.memory import MemoryBroker
from mainspring.exceptions import BrokerRefused, BrokerUnavailable


@pytest.fixture
def broker():
    broker = MemoryBroker("memory")
    job = machine.new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=1, max_crashes=0)
    broker.push([job])
    broker.claim("dead", None, 1)
    return broker


def test_a_refused_rescue_ends_instead_of_going_round_for_ever(broker, monkeypatch):
    """The caretaker hears of it as of an outage, and tries once more later."""

    def refuse(jobs):
        raise BrokerRefused("no")

    monkeypatch.setattr(broker, "settle", refuse)

    with pytest.raises(BrokerUnavailable, match="cannot be taken back: no"):
        broker.rescue(["dead"], max_crashes=3)


def test_what_was_taken_back_before_the_store_failed_is_told(broker, monkeypatch):
    """Or nobody would hear that those jobs have ended."""
    more = machine.new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=2, max_crashes=0)
    broker.push([more])
    broker.claim("dead", None, 1)
    settle, answers = broker.settle, [None, BrokerUnavailable("away"), BrokerUnavailable("away"), None]

    def answer(jobs):
        if error := answers.pop(0):
            raise error
        return settle(jobs)

    monkeypatch.setattr(broker, "settle", answer)

    assert len(broker.rescue(["dead"], max_crashes=3, batch=1)) == 1
    with pytest.raises(BrokerUnavailable):
        broker.rescue(["dead"], max_crashes=3, batch=1)
    assert len(broker.rescue(["dead"], max_crashes=3, batch=1)) == 1
    assert broker.rescue(["dead"], max_crashes=3, batch=1) == []


def test_an_end_that_cannot_be_looked_up_is_told_all_the_same(broker, monkeypatch):
    """It has been stored, and no other call would find it."""

    def fail(id):
        raise BrokerUnavailable("away")

    monkeypatch.setattr(broker, "get", fail)

    assert len(broker.rescue(["dead"], max_crashes=3)) == 1


def test_jobs_that_nobody_can_take_back_now_end_the_rescue(broker, monkeypatch):
    """Somebody has locked them; to ask again at once would go on for as long."""
    monkeypatch.setattr(broker, "settle", lambda jobs: set())

    with pytest.raises(BrokerUnavailable, match="somebody else has locked: 1"):
        broker.rescue(["dead"], max_crashes=3)


def test_the_reason_of_a_job_that_may_not_crash_says_so(broker):
    """It is not "crash 1 of at most 0"."""
    [job] = broker.rescue(["dead"], max_crashes=3)

    assert job.state == machine.State.QUARANTINED
    assert "allows no crash" in json.loads(job.errors)[-1]["traceback"]
