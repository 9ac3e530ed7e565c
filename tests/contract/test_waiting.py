"""wait_for: a caller waits for the end of one job and is told when it comes."""

import pytest
from django.conf import settings
from django.db import connections, transaction

from mainspring.exceptions import NotSentYet
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import elsewhere, together, until

LONG = 30  # seconds; only a test that fails waits as long


def test_ended_already(broker):
    """A job that has ended is returned without any waiting."""
    (job,) = jobs.finished(broker)

    assert broker.wait_for(job.id, LONG) == job
    assert broker.wait_for(job.id, 0) == job


def test_still_live(broker):
    """When the time is over the job is returned as it is."""
    (ready,) = jobs.pushed(broker)
    assert broker.wait_for(ready.id, 0.01) == ready

    (running,) = broker.claim("w1", None, 1)
    assert broker.wait_for(ready.id, 0.01) == running
    assert broker.wait_for(ready.id, 0) == running


def test_unknown(broker):
    """There is nothing to wait for where there is no job."""
    assert broker.wait_for("unheard of", 0.01) is None


def test_ends_while_somebody_waits(broker):
    """Whoever waits gets the job as it ended."""
    (job,) = jobs.claimed(broker)
    done = jobs.succeeded(broker, job)

    ended, _ = together(broker, lambda: broker.wait_for(job.id, LONG), lambda: broker.settle([done]))

    assert ended == done


def test_several_wait(broker):
    """Several callers can wait for the same job and for others; each is told of its own."""
    first, second = (jobs.succeeded(broker, job) for job in jobs.claimed(broker, 2))
    waits = [lambda job=job: broker.wait_for(job.id, LONG) for job in (first, second, first)]

    *ended, _ = together(broker, *waits, lambda: broker.settle([first, second]))

    assert ended == [first, second, first]


def test_waits_through_a_retry(broker):
    """A job that goes round again has not ended: the wait goes on until it has."""
    (job,) = jobs.claimed(broker)

    def work():
        broker.settle([jobs.retried(broker, job)])
        (again,) = broker.claim("w2", None, 1)
        broker.settle([jobs.failed(broker, again)])

    ended, _ = together(broker, lambda: broker.wait_for(job.id, LONG), work)

    assert (ended.state, ended.attempts) == (State.FAILED, 2)


def test_cancelled_while_somebody_waits(broker):
    """A cancelled job has ended; whoever waits need not wait any longer."""
    (job,) = jobs.pushed(broker)

    ended, _ = together(broker, lambda: broker.wait_for(job.id, LONG), lambda: broker.cancel([job.id]))

    assert ended.state == State.CANCELLED


def test_quarantined_while_somebody_waits(broker):
    """A job that a rescue ends has ended too."""
    (job,) = jobs.claimed(broker, max_crashes=0)

    ended, _ = together(broker, lambda: broker.wait_for(job.id, LONG), lambda: broker.rescue(["w1"], max_crashes=3))

    assert ended.state == State.QUARANTINED


def test_is_told(stored_broker, monkeypatch):
    """Who waits is told of the end and need not look again; afterwards nothing is left of the wait."""
    monkeypatch.setattr("mainspring.brokers.database.waiting.PAUSES", (LONG,))
    (job,) = jobs.claimed(stored_broker)
    done = jobs.succeeded(stored_broker, job)

    def finish():
        if settings.STORE != "sqlite":
            for _ in until(lambda: waiters(stored_broker) == 1):
                pass
        stored_broker.settle([done])

    ended, _ = together(stored_broker, lambda: stored_broker.wait_for(job.id, 2 * LONG), finish)

    assert ended == done
    assert waiters(stored_broker) == 0


def waiters(broker):
    if settings.STORE == "redis":
        return broker._client.command("HLEN", broker._keys.waiters)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM mainspring_waiter")
        return cursor.fetchone()[0]


def test_leaves_nothing_behind(database_broker):
    """A wait that ended in vain is forgotten too."""
    (job,) = jobs.pushed(database_broker)

    database_broker.wait_for(job.id, 0.01)

    assert waiters(database_broker) == 0


def test_not_sent_yet(database_broker):
    """To wait inside the transaction that has yet to send the job is told at once: it could never end."""
    with transaction.atomic():
        (job,) = jobs.pushed(database_broker)
        with pytest.raises(NotSentYet):
            database_broker.wait_for(job.id, LONG)

    assert database_broker.wait_for(job.id, 0) == job


def test_inside_another_transaction(database_broker):
    """Inside a transaction that began before the end, the end is seen, or it is told that it cannot be."""
    (job,) = jobs.claimed(database_broker)
    done = jobs.succeeded(database_broker, job)

    with transaction.atomic():
        assert database_broker.get(job.id) == job
        elsewhere(database_broker, lambda: database_broker.settle([done]))
        try:
            ended = database_broker.wait_for(job.id, LONG)
        except NotSentYet:
            assert connections["default"].vendor == "sqlite"
        else:
            assert ended == done
