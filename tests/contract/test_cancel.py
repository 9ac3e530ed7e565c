"""cancel: a job that nobody runs ends without running."""

import pytest

from mainspring import job as machine
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import together


@pytest.mark.parametrize("delay", [None, 60_000_000])
def test_idle_job(broker, delay):
    """A ready or deferred job ends as cancelled, is returned as it ended, and says why."""
    (job,) = jobs.pushed(broker, run_after=delay and broker.clock.moment() + delay)
    at = broker.clock.tick()

    assert broker.cancel([job.id]) == [machine.cancel(job, at)] == [broker.get(job.id)]

    (error,) = machine.decode_list(broker.get(job.id).errors)
    assert error["exception_class_path"] == "mainspring.exceptions.Cancelled"


@pytest.mark.parametrize("state", [State.PARKED, State.WAITING])
def test_other_idle_states(broker, state):
    """A parked or waiting job can be cancelled too."""
    job = jobs.new(broker)._replace(state=state, rank=None)
    broker.push([job])

    assert broker.cancel([job.id]) == [broker.get(job.id)]
    assert broker.get(job.id).state == State.CANCELLED


def test_never_runs(broker):
    """A cancelled job is neither claimed nor promoted."""
    ready = jobs.pushed(broker)
    deferred = jobs.pushed(broker, run_after=broker.clock.moment() + 60_000_000)
    broker.cancel(jobs.ids(ready + deferred))
    broker.clock.travel(100)

    assert broker.promote(10) is None
    assert broker.claim("w1", None, 5) == []


def test_running_or_ended(broker):
    """A running job is left to its worker, an ended one to its end, and an unknown id is no error."""
    (ended,) = jobs.finished(broker)
    (running,) = jobs.claimed(broker)

    assert broker.cancel([ended.id, running.id, machine.new_id()]) == []
    assert broker.search() == sorted([ended, running], key=lambda job: job.id, reverse=True)


def test_twice(broker):
    """Only the first cancel takes effect."""
    (job,) = jobs.pushed(broker)
    (cancelled,) = broker.cancel([job.id])
    broker.clock.travel(5)

    assert broker.cancel([job.id]) == []
    assert broker.get(job.id) == cancelled


def test_same_id_twice_in_one_call(broker):
    """An id that is given twice is one job."""
    (job,) = jobs.pushed(broker)

    assert jobs.ids(broker.cancel([job.id, job.id])) == {job.id}
    assert len(broker.search()) == 1


def test_nothing(broker):
    """To cancel no jobs is allowed."""
    assert broker.cancel([]) == []


def test_hundreds(broker):
    """Many jobs can be cancelled in one call."""
    many = jobs.pushed(broker, 1_500)

    assert jobs.ids(broker.cancel(jobs.ids(many))) == jobs.ids(many)
    assert broker.search(states=[State.READY]) == []


def test_late_write(broker):
    """A job that was cancelled between two attempts stays cancelled, whatever its last worker writes."""
    (job,) = jobs.claimed(broker)
    broker.settle([jobs.retried(broker, job, 60)])
    (cancelled,) = broker.cancel([job.id])

    assert broker.settle([jobs.retried(broker, job, 60), jobs.succeeded(broker, job)]) == set()
    assert broker.get(job.id) == cancelled
    assert cancelled.attempts == 1


def test_against_a_claim(broker):
    """When a job is cancelled and claimed at the same moment, it is one or the other."""
    many = jobs.pushed(broker, 100)

    def claim():
        return [job for _ in range(20) for job in broker.claim("w1", ["default"], 5)]

    def cancel():
        return [job for wanted in reversed(many) for job in broker.cancel([wanted.id])]

    claimed, cancelled = together(broker, claim, cancel)

    assert not jobs.ids(claimed) & jobs.ids(cancelled)
    assert {broker.get(job.id).state for job in claimed} <= {State.RUNNING}
    assert {broker.get(job.id).state for job in cancelled} <= {State.CANCELLED}
    assert len(claimed) + len(cancelled) + len(broker.search(states=[State.READY])) == 100
