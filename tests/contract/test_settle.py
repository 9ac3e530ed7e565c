"""settle: what became of a claimed job is stored once, and only under the token of its claim."""

import pytest
from django.db import transaction

from mainspring import job as machine
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import elsewhere, together


def test_success(broker):
    """A job that succeeded is stored with every field, and its id is accepted."""
    (job,) = jobs.claimed(broker)
    broker.clock.travel(5)
    done = jobs.succeeded(broker, job, '{"sum": 3}')

    assert broker.settle([done]) == {job.id}
    assert broker.get(job.id) == done
    assert (done.state, done.result, done.attempts) == (State.SUCCEEDED, '{"sum": 3}', 1)


def test_success_without_a_result(broker):
    """A result of None is stored as that."""
    (job,) = jobs.claimed(broker)

    broker.settle([jobs.succeeded(broker, job, None)])

    assert broker.get(job.id).result is None


@pytest.mark.parametrize("state", sorted(machine.ENDS - {State.SUCCEEDED}))
def test_other_ends(broker, state):
    """Each way to end without success is stored with its error."""
    (job,) = jobs.claimed(broker)
    at = broker.clock.tick()
    ended = machine.fail(job, jobs.BOOM, started_at=at, at=at, state=state)

    assert broker.settle([ended]) == {job.id}
    assert broker.get(job.id) == ended
    assert machine.decode_list(ended.errors) == [jobs.BOOM]


def test_release(broker):
    """A released job is ready again in its old place, as if it had not been claimed."""
    first, second = jobs.claimed(broker, 2)
    jobs.pushed(broker)

    assert broker.settle([machine.release(second), machine.release(first)]) == {first.id, second.id}
    assert broker.get(first.id) == machine.release(first)
    assert [job.id for job in broker.claim("w2", None, 2)] == [first.id, second.id]


def test_interruption(broker):
    """An interrupted job is ready again with one interruption more."""
    (job,) = jobs.claimed(broker)

    broker.settle([machine.interrupt(job)])

    assert broker.get(job.id) == machine.interrupt(job)
    assert broker.get(job.id).interruptions == 1


def test_ended_jobs_stay_ended(broker):
    """What has ended is never claimed again."""
    jobs.finished(broker, 3)

    assert broker.claim("w2", None, 5) == []


def test_nothing(broker):
    """To settle no jobs is allowed."""
    assert broker.settle([]) == set()


def test_many_ways_at_once(broker):
    """One call can store hundreds of jobs that ended in different ways."""
    claimed = jobs.claimed(broker, 600)
    ways = [jobs.succeeded, jobs.failed, jobs.retried, lambda broker, job: machine.release(job)]
    settled = [ways[n % 4](broker, job) for n, job in enumerate(claimed)]

    assert broker.settle(settled) == jobs.ids(claimed)
    assert sorted(broker.search(limit=1_000)) == sorted(settled)


def test_late_write(broker):
    """A worker that lost its job to another can no longer write: not its end, not a retry, not a release."""
    (mine,) = jobs.claimed(broker)
    broker.settle([machine.release(mine)])
    (theirs,) = broker.claim("w2", None, 1)

    for late in (jobs.succeeded(broker, mine), jobs.retried(broker, mine, 60), machine.release(mine)):
        assert broker.settle([late]) == set()

    assert broker.get(mine.id) == theirs


def test_late_write_after_the_end(broker):
    """Once a job has ended under another claim, an earlier one cannot change it, not even to the same end."""
    (mine,) = jobs.claimed(broker)
    broker.settle([machine.release(mine)])
    (theirs,) = broker.claim("w2", None, 1)
    broker.settle([jobs.succeeded(broker, theirs, '"theirs"')])

    assert broker.settle([jobs.succeeded(broker, mine, '"mine"'), jobs.failed(broker, mine)]) == set()
    assert broker.get(mine.id).result == '"theirs"'


def test_foreign_token(broker):
    """A write with a token that nobody was given is refused."""
    (job,) = jobs.claimed(broker)

    assert broker.settle([jobs.succeeded(broker, job._replace(token=job.token ^ 1))]) == set()
    assert broker.get(job.id) == job


def test_never_claimed(broker):
    """A job that nobody has claimed cannot be settled, with a token or without."""
    (job,) = jobs.pushed(broker)

    for token in (None, 1):
        assert broker.settle([jobs.succeeded(broker, job._replace(state=State.RUNNING, token=token))]) == set()
        assert broker.settle([job._replace(token=token)]) == set()

    assert broker.get(job.id) == job


def test_unknown_job(broker):
    """A job that the store does not hold is not accepted and not made."""
    job = machine.claim(jobs.new(broker), "w1", token=7, at=broker.clock.moment())

    assert broker.settle([jobs.succeeded(broker, job)]) == set()
    assert broker.get(job.id) is None


def test_good_and_late_in_one_batch(broker):
    """A late write does not keep the others of its batch from being stored."""
    lost, kept = jobs.claimed(broker, 2)
    broker.settle([machine.release(lost)])
    broker.claim("w2", None, 1)

    accepted = broker.settle([jobs.succeeded(broker, lost), jobs.succeeded(broker, kept)])

    assert accepted == {kept.id}
    assert jobs.states(broker, [lost, kept]) == [State.RUNNING, State.SUCCEEDED]


def test_repeat(broker):
    """A write whose reply was lost can be sent again: it is accepted and changes nothing."""
    claimed = jobs.claimed(broker, 4)
    ways = [jobs.succeeded, jobs.failed, lambda broker, job: jobs.retried(broker, job, 60), jobs.retried]
    settled = [way(broker, job) for way, job in zip(ways, claimed, strict=True)]

    assert broker.settle(settled) == jobs.ids(claimed)
    assert broker.settle(settled) == jobs.ids(claimed)
    assert sorted(broker.search()) == sorted(settled)


def test_repeat_changes_nothing(broker):
    """The first outcome of a claim stands: a second one that looks the same is accepted but not stored."""
    (job,) = jobs.claimed(broker)
    broker.settle([jobs.succeeded(broker, job, '"first"')])

    assert broker.settle([jobs.succeeded(broker, job, '"second"')]) == {job.id}
    assert broker.get(job.id).result == '"first"'


def test_second_outcome(broker):
    """A claim has one outcome: another than the first is refused."""
    (job,) = jobs.claimed(broker)
    broker.settle([jobs.succeeded(broker, job)])

    assert broker.settle([jobs.failed(broker, job)]) == set()
    assert broker.get(job.id).state == State.SUCCEEDED


def test_repeat_of_a_release(broker):
    """A repeated release is accepted while the job is still there, and refused once it is claimed again."""
    (job,) = jobs.claimed(broker)
    broker.settle([machine.release(job)])
    assert broker.settle([machine.release(job)]) == {job.id}

    broker.claim("w2", None, 1)

    assert broker.settle([machine.release(job)]) == set()


def test_retry_after_a_rescue_is_no_repeat(broker):
    """A rescued job is ready under its old token, but a retry that comes later did not make it so."""
    (job,) = jobs.claimed(broker)
    broker.rescue(["w1"], max_crashes=3)

    assert broker.settle([jobs.retried(broker, job)]) == set()
    assert (broker.get(job.id).crashes, broker.get(job.id).attempts) == (1, 0)


def test_wanders_through_retries_and_ends(broker):
    """A job may go round many times and then end; its history comes back in full."""
    (job,) = jobs.pushed(broker)

    for _ in range(5):
        (claim,) = broker.claim("w1", None, 1)
        broker.settle([jobs.retried(broker, claim)])
    (claim,) = broker.claim("w2", None, 1)
    broker.settle([jobs.succeeded(broker, claim)])

    ended = broker.get(job.id)
    assert (ended.attempts, len(machine.decode_list(ended.errors))) == (6, 5)
    assert machine.decode_list(ended.worker_ids) == ["w1"] * 5 + ["w2"]


def test_two_outcomes_at_once(broker):
    """When two threads settle the same claims in different ways, each job takes exactly one of the two."""
    claimed = jobs.claimed(broker, 60)
    good = [jobs.succeeded(broker, job) for job in claimed]
    bad = [jobs.failed(broker, job) for job in reversed(claimed)]

    def settle(outcomes):
        return {id for n in range(0, 60, 10) for id in broker.settle(outcomes[n : n + 10])}

    succeeded, failed = together(broker, lambda: settle(good), lambda: settle(bad))

    assert succeeded | failed == jobs.ids(claimed)
    assert not succeeded & failed
    assert all((broker.get(id).state == State.SUCCEEDED) == (id in succeeded) for id in jobs.ids(claimed))


def test_same_outcome_twice_at_once(broker):
    """A write that is repeated while the first is still under way is accepted both times and stored once."""
    settled = [jobs.succeeded(broker, job) for job in jobs.claimed(broker, 60)]

    first, second = together(broker, *[lambda: broker.settle(settled)] * 2)

    assert first == second == jobs.ids(settled)
    assert sorted(broker.search()) == sorted(settled)


def test_commits_with_the_caller(database_broker):
    """An end that is written in a transaction becomes true with its commit, not before."""
    (job,) = jobs.claimed(database_broker)

    with transaction.atomic():
        assert database_broker.settle([jobs.succeeded(database_broker, job)]) == {job.id}
        assert elsewhere(database_broker, lambda: database_broker.get(job.id)) == job

    assert elsewhere(database_broker, lambda: database_broker.get(job.id)).state == State.SUCCEEDED


def test_rolls_back_with_the_caller(database_broker):
    """An end that is rolled back has not happened: the job still runs under its token."""
    (job,) = jobs.claimed(database_broker)

    with transaction.atomic():
        database_broker.settle([jobs.succeeded(database_broker, job)])
        transaction.set_rollback(True)

    assert database_broker.get(job.id) == job
    assert database_broker.settle([jobs.failed(database_broker, job)]) == {job.id}
