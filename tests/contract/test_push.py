"""push: new jobs are stored all or none, once if asked, and as part of the caller's transaction."""

import pytest
from django.db import transaction

from mainspring.exceptions import BrokerRefused
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import elsewhere, together


def test_stores_every_field(broker):
    """A ready job comes back exactly as it was pushed."""
    job = jobs.new(broker, queue_name="mail", priority=-7, max_crashes=0, run_after=5)

    broker.push([job])

    assert broker.get(job.id) == job
    assert job.state == State.READY


def test_stores_a_deferred_job(broker):
    """A job whose time is still to come waits, outside the line."""
    job = jobs.new(broker, run_after=broker.clock.moment() + 60_000_000)

    broker.push([job])

    assert broker.get(job.id) == job
    assert (job.state, job.rank) == (State.DEFERRED, None)


def test_nothing(broker):
    """To push no jobs is allowed and does nothing."""
    broker.push([])

    assert broker.search() == []


def test_more_than_one_statement_can_carry(broker):
    """Thousands of jobs can be pushed in one call."""
    many = jobs.pushed(broker, 3_000)

    assert broker.search(limit=4_000) == sorted(many, key=lambda job: job.id, reverse=True)


def test_id_that_is_taken(broker):
    """Without `once` an id must be new: the push is refused and the stored job is left as it was."""
    (job,) = jobs.pushed(broker)

    with pytest.raises(BrokerRefused):
        broker.push([job._replace(priority=5)])

    assert broker.get(job.id) == job


def test_all_or_none(broker):
    """When one job of a push is refused, none of them is stored."""
    (taken,) = jobs.pushed(broker)
    many = [jobs.new(broker) for _ in range(1_500)]

    with pytest.raises(BrokerRefused):
        broker.push([*many, taken])

    assert broker.search() == [taken]


def test_id_twice_in_one_push(broker):
    """The same id twice in one call is refused too."""
    job = jobs.new(broker)

    with pytest.raises(BrokerRefused):
        broker.push([job, job])

    assert broker.get(job.id) is None


def test_once_leaves_live_jobs_alone(broker):
    """`once` stores what is new and leaves a job alone that is there already."""
    (running,) = jobs.claimed(broker)
    new = jobs.new(broker)

    broker.push([running._replace(state=State.READY), new], once=True)

    assert broker.get(running.id) == running
    assert broker.get(new.id) == new


def test_once_leaves_ended_jobs_alone(broker):
    """`once` does not bring back a job that has ended."""
    (ended,) = jobs.finished(broker)

    broker.push([jobs.new(broker, id=ended.id)], once=True)

    assert broker.get(ended.id) == ended
    assert broker.claim("w1", None, 1) == []


def test_once_with_an_id_twice(broker):
    """`once` stores the first of two jobs with the same id."""
    first = jobs.new(broker)

    broker.push([first, first._replace(priority=9)], once=True)

    assert broker.search() == [first]


def test_once_from_several_threads(broker):
    """Whoever comes first stores the job; the others are not disturbed."""
    many = [jobs.new(broker) for _ in range(50)]

    together(broker, *[lambda: [broker.push([job], once=True) for job in many]] * 4)

    assert jobs.ids(broker.search()) == jobs.ids(many)
    assert len(broker.search()) == 50


def test_once_in_opposite_orders(database_broker):
    """Transactions that push the same ids in opposite orders do not choke each other."""
    rounds = [[jobs.new(database_broker) for _ in range(50)] for _ in range(20)]

    def push(step):
        for many in rounds:
            with transaction.atomic():
                database_broker.push(many[::step], once=True)

    together(database_broker, lambda: push(1), lambda: push(-1))

    assert len(database_broker.search(limit=2_000)) == 1_000


def test_from_several_threads(broker):
    """Pushes do not disturb each other."""
    batches = [[jobs.new(broker) for _ in range(100)] for _ in range(4)]

    together(broker, *[lambda batch=batch: broker.push(batch) for batch in batches])

    assert jobs.ids(broker.search(limit=500)) == jobs.ids(job for batch in batches for job in batch)


def test_rolled_back(database_broker):
    """A push in a transaction that is rolled back leaves nothing."""
    with transaction.atomic():
        (job,) = jobs.pushed(database_broker)
        transaction.set_rollback(True)

    assert database_broker.get(job.id) is None
    assert database_broker.claim("w1", None, 1) == []


def test_rolled_back_to_a_savepoint(database_broker):
    """A push inside a savepoint goes with the savepoint; what was pushed around it stays."""
    with transaction.atomic():
        (before,) = jobs.pushed(database_broker)
        with transaction.atomic():
            jobs.pushed(database_broker)
            transaction.set_rollback(True)
        (after,) = jobs.pushed(database_broker)

    assert jobs.ids(database_broker.search()) == {before.id, after.id}


def test_seen_after_the_commit_only(database_broker):
    """Nobody else sees or claims a job before the transaction that pushed it has been committed."""
    with transaction.atomic():
        (job,) = jobs.pushed(database_broker)
        assert elsewhere(database_broker, lambda: database_broker.get(job.id)) is None
        assert elsewhere(database_broker, database_broker.search) == []

    assert elsewhere(database_broker, lambda: database_broker.claim("w1", None, 1)[0].id) == job.id


def test_refused_in_a_transaction(database_broker):
    """A refused push is told inside a transaction too; with a savepoint the work around it survives."""
    with transaction.atomic():
        (job,) = jobs.pushed(database_broker)
        with pytest.raises(BrokerRefused), transaction.atomic():
            database_broker.push([jobs.new(database_broker), job])

    assert database_broker.search() == [job]
