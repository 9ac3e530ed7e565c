"""Outcomes on their way to the store."""

from collections import deque

import pytest

from mainspring import job as machine
from mainspring.brokers.memory import MemoryBroker
from mainspring.conf import parse
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.outcomes import Outcomes

OPTIONS = parse("memory", {})


@pytest.fixture
def broker():
    return MemoryBroker("memory")


@pytest.fixture
def notices():
    return []


@pytest.fixture
def outcomes(broker, notices):
    return Outcomes(broker, OPTIONS, Execution(broker, OPTIONS, object), lambda: notices.append("!"))


@pytest.fixture
def run(broker):
    def run():
        at = broker.clock.moment()
        broker.push([machine.new_job(task_path="a.b", arguments="{}", queue_name="q", priority=0, at=at)])
        [job] = broker.claim("w", None, 1)
        return Ran(job, machine.succeed(job, "null", at, at))

    return run


def test_the_first_outcome_and_a_full_batch_give_notice(outcomes, notices, run):
    """Those in between wait with the first."""
    assert outcomes.due_at() is None
    for expected in [1] * 63 + [2]:
        outcomes.add(run())
        assert outcomes.due_at() is not None
        assert len(notices) == expected


def test_an_outcome_that_comes_while_others_are_stored_gives_notice(outcomes, notices, run):
    """It seemed to have company when it came, and nobody would look after it."""

    class Slow(deque):
        def append(self, item):
            if self:
                list(outcomes.flush())
                assert outcomes.due_at() is None
            super().append(item)

    outcomes._waiting = Slow()
    assert outcomes.due_at() is None
    outcomes.add(run())
    outcomes.add(run())

    assert len(notices) == 2


def test_no_statement_carries_more_than_a_database_takes(broker, outcomes, run, monkeypatch):
    """Many large results go in several, and one that is too large alone still goes."""
    monkeypatch.setattr("mainspring.worker.outcomes.MOST_AT_ONCE", 25)
    for length in (10, 10, 10, 100, 1):
        ran = run()
        outcomes.add(Ran(ran.claimed, ran.job._replace(result="x" * length, errors="")))

    batches = [[len(ran.job.result) for ran in batch] for batch in outcomes.flush()]
    assert batches == [[10, 10], [10], [100], [1]]


def test_an_outage_between_two_batches_loses_neither(broker, outcomes, run, monkeypatch):
    """The first one has been handed on by then, and the second waits."""
    monkeypatch.setattr("mainspring.worker.outcomes.MOST_AT_ONCE", 0)
    settle, answers = broker.settle, [None, BrokerUnavailable("away"), None]

    def answer(jobs):
        if error := answers.pop(0):
            raise error
        return settle(jobs)

    monkeypatch.setattr(broker, "settle", answer)
    first, second = run(), run()
    outcomes.add(first)
    outcomes.add(second)
    flushing = outcomes.flush()

    assert next(flushing) == [first]
    with pytest.raises(BrokerUnavailable):
        next(flushing)
    assert list(outcomes.flush()) == [[second]]


def test_a_failure_that_is_refused_too_is_not_tried_for_ever(broker, outcomes, run, monkeypatch, caplog):
    """The job is left to a rescue, and that is said."""

    def refuse(jobs):
        raise BrokerRefused("never")

    monkeypatch.setattr(broker, "settle", refuse)
    outcomes.add(run())
    assert list(outcomes.flush()) == [[]]
    assert list(outcomes.flush()) == [[]]

    assert len(outcomes) == 0
    assert "its failure is refused too" in caplog.text


def test_a_task_that_failed_of_a_refusal_of_its_own_is_stored_as_a_failure(broker, outcomes, run, monkeypatch):
    """What it had tried to enqueue was refused, and now its error is too; that is no second refusal of an outcome."""
    settle, answers = broker.settle, [BrokerRefused("no such character"), None]

    def answer(jobs):
        if error := answers.pop(0):
            raise error
        return settle(jobs)

    monkeypatch.setattr(broker, "settle", answer)
    ran = run()
    outcomes.add(Ran(ran.claimed, ran.job, BrokerRefused("of its own")))
    list(outcomes.flush())
    list(outcomes.flush())

    assert broker.get(ran.job.id).state == "failed"


def test_what_is_refused_when_it_must_be_stored_at_once_is_stored_as_a_failure(broker, outcomes, run, monkeypatch):
    """Whoever takes the job's process for dead afterwards finds that the job has ended."""
    settle = broker.settle

    def refuse_results(jobs):
        if any(job.state == "succeeded" for job in jobs):
            raise BrokerRefused("too long")
        return settle(jobs)

    monkeypatch.setattr(broker, "settle", refuse_results)
    stored = outcomes.store(run())

    assert broker.get(stored.job.id).state == "failed"
    outcomes.add(stored)
    assert list(outcomes.flush()) == [[stored]]


def test_what_must_be_stored_at_once_waits_for_its_store(broker, outcomes, run, monkeypatch):
    """However often it does not answer."""
    monkeypatch.setattr("mainspring.worker.outcomes.RETRY_AFTER", 0.0)
    answers, settle = [BrokerUnavailable("away"), BrokerUnavailable("away"), None], broker.settle

    def answer(jobs):
        if error := answers.pop(0):
            raise error
        return settle(jobs)

    monkeypatch.setattr(broker, "settle", answer)
    stored = outcomes.store(run())

    assert (answers, broker.get(stored.job.id).state) == ([], "succeeded")
