"""Jobs that crashed before: they stand in a lane of their own, for workers who run nothing beside them."""

from mainspring import job as machine
from mainspring.job import State
from tests.contract import jobs


def test_left_alone_by_others(broker):
    """An ordinary claim takes only jobs that never crashed, one that runs them alone only those that did."""
    (crashed,) = jobs.crashed(broker, priority=100)
    (other,) = jobs.pushed(broker, priority=-100)

    assert jobs.ids(broker.claim("w1", None, 5)) == {other.id}
    (claim,) = broker.claim("w1", None, 5, alone=True)

    facts = {"worker_id": "w1", "token": claim.token, "last_attempted_at": broker.clock.moment()}
    assert claim == crashed._replace(state=State.RUNNING, **facts) == broker.get(crashed.id)


def test_nobody_to_run_alone(broker):
    """Without such a job, a claim of them finds nothing, whatever else is ready."""
    jobs.pushed(broker, 3)

    assert broker.claim("w1", None, 5, alone=True) == []
    assert broker.claim("w1", ["default", "mail"], 5, alone=True) == []


def test_order(broker):
    """Among themselves too, the highest priority goes first, then the oldest; a crash costs no place."""
    low, middle, high = (jobs.new(broker, priority=priority) for priority in (-100, 0, 100))
    young = jobs.new(broker)
    for job in (young, middle, low, high):
        broker.push([job])
        broker.claim("dead", None, 1)
        broker.rescue(["dead"], max_crashes=2)

    claimed = [job.id for limit in (2, 1, 5) for job in broker.claim("w1", None, limit, alone=True)]

    assert claimed == [job.id for job in (high, middle, young, low)]


def test_queues_and_tasks(broker):
    """Queues and tasks to skip mean the same as in every claim."""
    wanted, skipped = (jobs.crashed(broker, task_path=path)[0] for path in ("app.tasks.add", "app.gone"))
    (mail,) = jobs.crashed(broker, queue_name="mail")

    assert jobs.ids(broker.claim("w1", ["default"], 5, ["app.gone"], alone=True)) == {wanted.id}
    assert broker.claim("w1", [], 5, alone=True) == []
    assert jobs.ids(broker.claim("w1", ["slow", "mail"], 5, alone=True)) == {mail.id}
    assert jobs.ids(broker.claim("w1", None, 5, alone=True)) == {skipped.id}


def test_retried_at_once(broker):
    """A job that crashed once runs alone in every later attempt too."""
    jobs.crashed(broker)
    (job,) = broker.claim("w1", None, 1, alone=True)
    broker.settle([jobs.retried(broker, job)])

    assert broker.claim("w1", None, 5) == []
    assert jobs.ids(broker.claim("w1", None, 5, alone=True)) == {job.id}


def test_retried_later(broker):
    """A deferred job that crashed before is made ready among those that run alone, beside others that are not."""
    jobs.crashed(broker, priority=7)
    (crashed,) = broker.claim("w1", None, 1, alone=True)
    (tried,) = jobs.claimed(broker, priority=7)
    later = [jobs.retried(broker, job, delay=60) for job in (crashed, tried)]
    broker.settle(later)
    broker.clock.travel(100)
    broker.promote(10)

    assert [broker.get(job.id) for job in later] == [machine.promote(job) for job in later]
    assert jobs.ids(broker.claim("w2", None, 5)) == {tried.id}
    assert jobs.ids(broker.claim("w2", None, 5, alone=True)) == {crashed.id}


def test_released(broker):
    """A job that its worker gives back keeps its lane and its place."""
    jobs.crashed(broker, 2)
    (first,) = broker.claim("w1", None, 1, alone=True)
    broker.settle([machine.release(first)])

    assert broker.claim("w1", None, 5) == []
    assert jobs.ids(broker.claim("w1", None, 1, alone=True)) == {first.id}


def test_found_at_once(broker):
    """A crashed job is found by the next claim for it, however much a broker remembers of other claims."""
    (job,) = jobs.claimed(broker, worker_id="dead")
    for _ in range(3):
        broker.clock.travel(60)
        assert broker.claim("w1", ["default"], 1, ["app.gone"]) == broker.claim("w1", ["default"], 1, alone=True) == []

    broker.rescue(["dead"], max_crashes=2)

    assert jobs.ids(broker.claim("w1", ["default"], 1, ["app.gone"], alone=True)) == {job.id}


def test_teaches_other_claims_nothing(broker):
    """What a claim of lone jobs did not find hides nothing from the next ordinary claim."""
    (job,) = jobs.pushed(broker)
    broker.clock.travel(60)
    assert broker.claim("w1", ["default"], 1, alone=True) == []

    assert jobs.ids(broker.claim("w1", ["default"], 1)) == {job.id}


def test_counted_as_ready(broker):
    """A job in that lane is ready like any other, and has been in line since it was enqueued."""
    (job,) = jobs.crashed(broker)

    (count,) = broker.counts(0)

    assert (count.state, count.number, count.oldest) == ("ready", 1, job.enqueued_at)
