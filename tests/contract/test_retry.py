"""Retries and deferred jobs: settle sends a job round again, promote lines up what has fallen due."""

from mainspring import job as machine
from mainspring.clock import SECOND
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import together, until

MINUTE = 60 * SECOND


def deferred(broker, seconds, **facts):
    """Push a job that falls due in `seconds`."""
    (job,) = jobs.pushed(broker, run_after=broker.clock.moment() + seconds * SECOND, **facts)
    return job


def test_retry_at_once(broker):
    """A job that is retried without a delay is ready again and can be claimed."""
    (job,) = jobs.claimed(broker)
    again = jobs.retried(broker, job)

    broker.settle([again])

    assert broker.get(job.id) == again
    assert broker.claim("w2", None, 1)[0].attempts == 1


def test_retry_later(broker):
    """A job that is retried with a delay is deferred, outside the line."""
    (job,) = jobs.claimed(broker)
    later = jobs.retried(broker, job, 60)

    broker.settle([later])

    assert broker.get(job.id) == later
    assert (later.state, later.rank, later.due_at) == (State.DEFERRED, None, broker.clock.moment() + MINUTE)
    assert broker.claim("w2", None, 1) == []


def test_promote_what_is_due(broker):
    """A due job becomes ready; it lines up as if it had been enqueued when it fell due."""
    job = deferred(broker, 60, priority=3)
    broker.clock.travel(100)

    assert broker.promote(10) is None

    assert broker.get(job.id) == machine.promote(job)
    assert jobs.ids(broker.claim("w1", None, 1)) == {job.id}


def test_promote_at_the_very_moment(broker):
    """A job is due at its moment, not a microsecond later."""
    job = deferred(broker, 60)
    broker.clock.travel((job.due_at - 1 - broker.clock.moment()) / SECOND)
    assert broker.promote(10) == job.due_at

    assert broker.clock.tick() == job.due_at
    broker.promote(10)

    assert broker.get(job.id).state == State.READY


def test_promote_tells_when_the_next_is_due(broker):
    """What is not due yet stays, and the moment of the next one is returned."""
    deferred(broker, 300)
    soon = deferred(broker, 60)
    deferred(broker, 1)
    broker.clock.travel(2)

    assert broker.promote(10) == soon.due_at
    assert broker.get(soon.id) == soon


def test_promote_without_deferred_jobs(broker):
    """Where nothing waits, there is no next moment; other jobs are left alone."""
    pushed = jobs.pushed(broker, 2)
    broker.claim("w1", None, 1)

    assert broker.promote(10) is None
    assert jobs.states(broker, pushed) == [State.RUNNING, State.READY]


def test_promote_up_to_a_limit(broker):
    """The limit takes those that fell due first; the moment returned is then one that has passed."""
    late, middle, early = (deferred(broker, seconds) for seconds in (30, 20, 10))
    broker.clock.travel(60)

    assert broker.promote(1) == middle.due_at
    assert jobs.states(broker, [early, middle, late]) == [State.READY, State.DEFERRED, State.DEFERRED]
    assert broker.promote(1) == late.due_at
    assert broker.promote(1) is None


def test_promote_hundreds(broker):
    """Many jobs can fall due at once; each becomes ready."""
    many = [jobs.new(broker, run_after=broker.clock.moment() + MINUTE) for _ in range(600)]
    broker.push(many)
    broker.clock.travel(120)

    assert broker.promote(1_000) is None
    assert [job.id for job in broker.claim("w1", None, 1_000)] == [job.id for job in many]


def test_place_in_the_line(broker):
    """A promoted job stands between those enqueued before and after it fell due; priority goes first."""
    middle = deferred(broker, 60)
    urgent = deferred(broker, 61, priority=1)
    (old,) = jobs.pushed(broker)
    broker.clock.travel(100)
    (young,) = jobs.pushed(broker)
    broker.promote(10)

    claimed = broker.claim("w1", None, 4)

    assert [job.id for job in claimed] == [job.id for job in (urgent, old, middle, young)]


def test_retried_job_goes_to_the_end_of_the_line(broker):
    """A retry at once lines up now, behind what was enqueued meanwhile; it does not keep its old place."""
    (job,) = jobs.claimed(broker)
    (other,) = jobs.pushed(broker)
    broker.clock.tick()
    broker.settle([jobs.retried(broker, job)])

    assert [job.id for job in broker.claim("w1", None, 2)] == [other.id, job.id]


def test_promoted_by_many(broker):
    """Workers who promote at the same time do not disturb each other; each job is ready once."""
    many = [deferred(broker, 10) for _ in range(100)]
    broker.clock.travel(60)

    together(broker, *[lambda: [broker.promote(9) for _ in range(12)]] * 4)

    broker.promote(1_000)  # a promotion may pass over a job that another is about to make ready
    assert jobs.ids(broker.claim("w1", None, 1_000)) == jobs.ids(many)
    assert {broker.get(job.id).rank for job in many} == {machine.promote(job).rank for job in many}


def test_promoted_while_claimed(broker):
    """A worker can promote while others claim: each job is claimed once."""
    many = [deferred(broker, 10) for _ in range(100)]
    broker.clock.travel(10.5)
    claimed = []

    def claim(worker_id):
        for _ in until(lambda: len(claimed) >= 100):
            claimed.extend(job.id for job in broker.claim(worker_id, ["default"], 5))

    def promote():
        while broker.promote(7) is not None:
            pass

    together(broker, promote, lambda: claim("w1"), lambda: claim("w2"))

    assert sorted(claimed) == sorted(jobs.ids(many))
