"""counts: how many jobs of each queue are in each state."""

from mainspring.brokers.base import Count
from mainspring.job import State
from tests.contract import jobs


def counts(broker, ended_since=0):
    return {(count.queue_name, count.state): count for count in broker.counts(ended_since)}


def test_nothing(broker):
    """An empty store has nothing to count."""
    assert broker.counts(0) == []


def test_by_queue_and_state(broker):
    """Each queue and state that holds jobs is counted, those in line with the moment of the oldest."""
    jobs.claimed(broker, 2)
    ready = jobs.pushed(broker, 3)
    jobs.pushed(broker, queue_name="mail", run_after=broker.clock.moment() + 60_000_000)

    assert counts(broker) == {
        ("default", "running"): Count("default", "running", 2),
        ("default", "ready"): Count("default", "ready", 3, ready[0].enqueued_at),
        ("mail", "deferred"): Count("mail", "deferred", 1),
    }


def test_a_job_that_fell_due_has_been_in_line_since_then(broker):
    """How long a job was deferred says nothing about how long it has been kept waiting."""
    due_at = broker.clock.moment() + 3600 * 1_000_000
    jobs.pushed(broker, run_after=due_at, priority=-100)
    broker.clock.travel(3660)
    broker.promote(10)

    assert counts(broker)["default", "ready"].oldest == due_at
    jobs.pushed(broker, priority=100)
    assert counts(broker)["default", "ready"].oldest == due_at


def test_a_retried_job_has_been_in_line_since_it_fell_due_again(broker):
    (job,) = jobs.claimed(broker)
    broker.settle([jobs.retried(broker, job, delay=60)])
    assert counts(broker)["default", "deferred"].oldest is None
    broker.clock.travel(90)
    broker.promote(10)

    assert counts(broker)["default", "ready"].oldest == broker.clock.moment() - 30 * 1_000_000


def test_ended_jobs_since(broker):
    """Ended jobs are counted when they ended at the given moment or later; live ones always are."""
    jobs.finished(broker)
    (job,) = jobs.claimed(broker)
    broker.clock.travel(60)
    broker.settle([jobs.failed(broker, job)])
    jobs.pushed(broker)
    ended_at = broker.get(job.id).finished_at

    assert set(counts(broker)) == {("default", state) for state in ("ready", "succeeded", "failed")}
    assert set(counts(broker, ended_at)) == {("default", "ready"), ("default", "failed")}
    assert set(counts(broker, ended_at + 1)) == {("default", "ready")}


def test_similar_names(broker):
    """Queues whose names differ in case or blanks are counted apart."""
    for name in ("mail", "Mail", "mail "):
        jobs.pushed(broker, queue_name=name)

    assert {key: count.number for key, count in counts(broker).items()} == {
        (name, State.READY): 1 for name in ("mail", "Mail", "mail ")
    }
