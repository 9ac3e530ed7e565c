"""Asking whether claimed jobs may run: what becomes of those that can be neither run nor parked."""

import pytest

from mainspring import job as machine
from mainspring.brokers.memory import MemoryBroker
from mainspring.conf import options_for
from mainspring.job import State
from mainspring.worker.admission import admitted
from mainspring.worker.known_tasks import KnownTasks
from tests.contract import jobs
from tests.contract.clocks import FrozenClock


@pytest.fixture
def claimed():
    """A broker that lets nobody run, and a claimed job that is unique until its start."""
    broker = MemoryBroker("default", FrozenClock())
    jobs.pushed(broker, order_key="key:a", unique_key="start:ab12")
    (job,) = broker.claim("w1", None, 1)
    return broker, job


def asked(broker, job):
    return admitted(broker, options_for("default"), KnownTasks(broker.clock, ()), [job])


def test_one_that_could_not_be_parked_is_to_be_given_back(claimed, monkeypatch):
    """Nobody can tell yet whether another has its unique key; it would run for ever, with nobody who runs it."""
    broker, job = claimed
    monkeypatch.setattr(broker, "admit", lambda requests: set())

    assert asked(broker, job) == ([], [job], [], [])


def test_one_that_has_ended_meanwhile_is_to_be_announced(claimed, monkeypatch):
    broker, job = claimed

    def supersede(requests):
        ended = machine.fail(job, jobs.BOOM, 1, 1, State.DISCARDED)
        broker.settle([ended])
        return set()

    monkeypatch.setattr(broker, "admit", supersede)
    may_run, left, ended, _ = asked(broker, job)

    assert (may_run, left) == ([], [])
    assert jobs.ids(ended) == {job.id}


def test_one_that_cannot_be_asked_for_takes_nobody_with_it(monkeypatch):
    broker = MemoryBroker("default", FrozenClock())
    good, bad, other = jobs.claimed(broker, 3, limits='[["a", 1]]')
    admit, reason = broker.admit, ValueError("no number")

    def admit_all_but_one(requests):
        if any(request.job.id == bad.id for request in requests):
            raise reason
        return admit(requests)

    monkeypatch.setattr(broker, "admit", admit_all_but_one)
    found = admitted(broker, options_for("default"), KnownTasks(broker.clock, ()), [good, bad, other])

    assert jobs.ids(found.may_run) == {good.id, other.id}
    assert found.broken == [(bad, reason)]
