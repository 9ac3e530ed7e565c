"""Jobs for the tests of the contract, and the few steps that most of them begin with."""

from mainspring import job as machine

BOOM = machine.error_entry("builtins.ValueError", "ValueError: boom")


def new(broker, **facts):
    """Return a job that has just been enqueued, a microsecond after the one before."""
    usual = {"task_path": "app.tasks.add", "arguments": '{"args": [1], "kwargs": {}}'}
    usual |= {"queue_name": "default", "priority": 0, "at": broker.clock.tick()}
    return machine.new_job(**usual | facts)


def pushed(broker, number=1, **facts):
    """Push `number` new jobs and return them, oldest first."""
    jobs = [new(broker, **facts) for _ in range(number)]
    broker.push(jobs)
    return jobs


def claimed(broker, number=1, worker_id="w1", **facts):
    """Push `number` new jobs and let `worker_id` claim them; no other job may be ready."""
    new_ids = ids(pushed(broker, number, **facts))
    claimed = broker.claim(worker_id, None, number)
    assert ids(claimed) == new_ids
    return claimed


def succeeded(broker, job, result='"done"'):
    """Return a claimed job as it is when it has succeeded just now."""
    at = broker.clock.moment()
    return machine.succeed(job, result, started_at=at, at=at)


def failed(broker, job):
    at = broker.clock.moment()
    return machine.fail(job, BOOM, started_at=at, at=at)


def retried(broker, job, delay=0):
    """Return a claimed job as it is when it shall run again in `delay` seconds."""
    at = broker.clock.moment()
    return machine.retry(job, BOOM, started_at=at, at=at, due_at=at + delay * 1_000_000)


def crashed(broker, number=1, **facts):
    """Push `number` new jobs and let a worker die under them; return them as they are then, ready to run alone."""
    claims = claimed(broker, number, worker_id="dead", **facts)
    rescued = {job.id: job for job in broker.rescue(["dead"], max_crashes=10)}
    return [rescued[job.id] for job in claims]


def finished(broker, number=1, **facts):
    """Push, claim and finish `number` jobs; return them as they ended."""
    jobs = [succeeded(broker, job) for job in claimed(broker, number, **facts)]
    assert broker.settle(jobs) == ids(jobs)
    return jobs


def ids(jobs):
    return {job.id for job in jobs}


def states(broker, jobs):
    """Return the states that the store now shows for these jobs."""
    return [broker.get(job.id).state for job in jobs]
