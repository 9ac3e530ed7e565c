"""beat: what else the store shows to whoever looks after workers."""

import pytest
from django.conf import settings
from django.db import connections
from django.test.utils import CaptureQueriesContext

from mainspring.brokers.base import WorkerInfo
from mainspring.clock import SECOND
from tests.contract import jobs


def deferred(broker, seconds):
    """Push a job that falls due in `seconds`, and return that moment."""
    (job,) = jobs.pushed(broker, run_after=broker.clock.moment() + seconds * SECOND)
    return job.due_at


def test_nothing_waits(broker):
    """Jobs that are ready, running or ended fall due no more."""
    jobs.finished(broker)
    jobs.claimed(broker)
    jobs.pushed(broker)

    pulse = broker.beat([WorkerInfo("w1")])

    assert (pulse.next_due, pulse.has_alone) == (None, False)


def test_next_due(broker):
    """The first moment counts, whether it is to come or has passed, until the job has been made ready."""
    late, soon = deferred(broker, 300), deferred(broker, 60)

    assert broker.beat([WorkerInfo("w1")]).next_due == soon
    broker.clock.travel(100)
    assert broker.beat([]).next_due == soon
    broker.promote(10)
    assert broker.beat([]).next_due == late


def test_has_alone(broker):
    """A job that crashed before is waiting for a worker who runs it alone, until one has claimed it."""
    jobs.pushed(broker, 3)
    broker.claim("w1", None, 3)
    (crashed,) = jobs.crashed(broker)
    jobs.pushed(broker, 3)

    assert broker.beat([WorkerInfo("w1")]).has_alone is True
    (claimed,) = broker.claim("w1", None, 5, alone=True)
    assert broker.beat([WorkerInfo("w1")]).has_alone is False
    broker.settle([jobs.retried(broker, claimed, 60)])
    assert broker.beat([]).has_alone is False
    broker.clock.travel(60)
    broker.promote(10)
    assert broker.beat([]).has_alone is True
    assert broker.cancel([crashed.id])
    assert broker.beat([]).has_alone is False


def test_has_ready(broker):
    """Whether a job is ready that may run beside others shows where it was asked, until it has been claimed."""
    jobs.crashed(broker)
    deferred(broker, 60)
    assert broker.beat([WorkerInfo("w1")], with_ready=True).has_ready is False

    jobs.pushed(broker, queue_name="mail")
    asked = [None, ["mail"], ["default", "mail"], ["default"], []]
    answers = [broker.beat([WorkerInfo("w1")], queues, with_ready=True).has_ready for queues in asked]

    assert answers == [True, True, True, False, False]
    assert broker.beat([]).has_ready is False
    broker.claim("w1", None, 5)
    assert broker.beat([], with_ready=True).has_ready is False


def test_strangers(broker):
    """Workers that nobody knows, and under which jobs run, show where they were asked for."""
    jobs.claimed(broker, worker_id="unknown")
    jobs.claimed(broker, 2, worker_id="w1")
    jobs.claimed(broker, worker_id="another")
    broker.beat([WorkerInfo("w1")])

    assert broker.beat([WorkerInfo("w1")], with_strangers=True).strangers == {"unknown", "another"}
    assert broker.beat([], ["mail"], with_strangers=True).strangers == {"unknown", "another"}
    assert broker.beat([WorkerInfo("w1")]).strangers == set()


def test_has_alone_in_these_queues(broker):
    """Only the queues that somebody serves matter to it; None is every queue."""
    jobs.crashed(broker, queue_name="mail")
    for name in ("default", "zzz"):
        jobs.pushed(broker, queue_name=name)
    asked = [None, ["mail"], ["default", "mail"], {"default", "Mail"}, ["zzz"], []]

    answers = [broker.beat([WorkerInfo("w1")], queues).has_alone for queues in asked]

    assert answers == [True, True, True, False, False, False]


def test_very_many_queues(broker):
    """There may be more queues than a statement can name."""
    jobs.crashed(broker, queue_name="one more")
    broker.push([jobs.new(broker, queue_name=f"customer-{n}") for n in range(1_200)])
    names = [f"customer-{n}" for n in range(1_200)]

    asked = [None, names, [*names, "one more"]]

    assert [broker.beat([], queues).has_alone for queues in asked] == [True, False, True]


@pytest.mark.parametrize("queues", [None, ["default"]])
def test_looks_without_writing(database_broker, queues):
    """A beat for nobody can be asked of a store that may only be read."""
    deferred(database_broker, 60)
    with CaptureQueriesContext(connections["default"]) as queries:
        database_broker.beat([], queues)

    texts = " ".join(query["sql"].upper() for query in queries)
    assert "SELECT" in texts
    assert not any(word in texts for word in ("INSERT", "UPDATE", "DELETE", "BEGIN", "SAVEPOINT"))


@pytest.mark.skipif(settings.DATABASE != "postgresql", reason="elsewhere no statement can write and look")
@pytest.mark.parametrize("queues", [None, ["default"]])
def test_one_statement(database_broker, queues):
    """Where the database can do it, a beat is one round trip, whatever there is to beat for and to look at."""
    jobs.pushed(database_broker, queue_name="mail")
    with CaptureQueriesContext(connections["default"]) as queries:
        database_broker.beat([WorkerInfo("w1"), WorkerInfo("w2")], queues, with_ready=True, with_strangers=True)

    assert len(queries) == 1


@pytest.mark.skipif(settings.DATABASE != "postgresql", reason="elsewhere nobody limits waits by a statement")
def test_one_message_of_a_supervisor(database_broker, monkeypatch):
    """So it is for a supervisor, who limits its waits by the same message, and for one transaction only."""
    monkeypatch.setattr(database_broker._store, "longest_wait", 1.5)
    jobs.pushed(database_broker)
    database_broker.beat([WorkerInfo("w1")])  # connects

    with CaptureQueriesContext(connections["default"]) as queries:
        pulse = database_broker.beat([WorkerInfo("w1")], ["default"], with_ready=True)

    assert (len(queries), pulse.has_ready, pulse.workers[0].beat) == (1, True, 2)
    assert "lock_timeout" in queries[0]["sql"]
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.skipif(settings.DATABASE != "mariadb", reason="two statements are for where one cannot do it")
def test_two_statements(database_broker):
    """MariaDB writes and looks in one statement each, in transactions of their own."""
    jobs.pushed(database_broker)
    database_broker.beat([WorkerInfo("w1")])

    with CaptureQueriesContext(connections["default"]) as queries:
        pulse = database_broker.beat([WorkerInfo("w1"), WorkerInfo("w2")], ["default"], with_ready=True)

    assert (len(queries), pulse.has_ready) == (2, True)
    assert [(worker.id, worker.beat) for worker in pulse.workers] == [("w1", 2), ("w2", 1)]
