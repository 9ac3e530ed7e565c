"""settle_and_claim: what settle does and what claim does, in one round with the store."""

import pytest

from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import together

LONG = 30


def test_both_are_done(broker):
    """Outcomes of every kind are stored, and the oldest ready jobs come back in order, under one new token."""
    done, failed, later = jobs.claimed(broker, 3)
    first, second, _ = jobs.pushed(broker, 3)
    outcomes = [jobs.succeeded(broker, done), jobs.failed(broker, failed), jobs.retried(broker, later, delay=60)]

    turn = broker.settle_and_claim(outcomes, "w1", None, 2)

    assert (turn.accepted, turn.refused) == ({done.id, failed.id, later.id}, [])
    assert [job.id for job in turn.claimed] == [first.id, second.id]
    assert len({job.token for job in turn.claimed}) == 1
    assert [broker.get(job.id) for job in outcomes] == outcomes
    assert sorted(broker.held_by(["w1"], 9)) == sorted(turn.claimed)


@pytest.mark.parametrize("end", [jobs.succeeded, jobs.failed])
def test_only_ends(broker, end):
    """A batch that only ends jobs does the same, and each end is stored whole."""
    outcomes = [end(broker, job) for job in jobs.claimed(broker, 3)]
    (new,) = jobs.pushed(broker)

    turn = broker.settle_and_claim(outcomes, "w2", ["default"], 9)

    assert turn.accepted == jobs.ids(outcomes)
    assert [broker.get(job.id) for job in outcomes] == outcomes
    assert [(job.id, job.worker_id, job.state) for job in turn.claimed] == [(new.id, "w2", State.RUNNING)]


def test_what_a_quarantine_changes_is_stored(broker):
    """The count of crashes comes with an end too."""
    (job,) = jobs.claimed(broker)
    ended = jobs.failed(broker, job)._replace(crashes=3, state=State.QUARANTINED)

    broker.settle_and_claim([ended], "w2", None, 1)

    assert broker.get(job.id) == ended


def test_an_old_token_is_refused(broker):
    """An outcome of a claim that was taken away is not stored; the claim is made all the same."""
    (old,) = jobs.claimed(broker)
    broker.rescue(["w1"], max_crashes=3, started=[])
    (new,) = broker.claim("w2", None, 1)
    (other,) = jobs.pushed(broker)

    turn = broker.settle_and_claim([jobs.succeeded(broker, old)], "w1", None, 5)

    assert (turn.accepted, jobs.ids(turn.claimed)) == (set(), {other.id})
    assert broker.get(old.id) == new


def test_a_repeat_is_accepted(broker):
    """The reply to a turn that was lost is asked for again: its outcomes are accepted, and the next jobs claimed."""
    outcomes = [jobs.succeeded(broker, job) for job in jobs.claimed(broker, 2)]
    jobs.pushed(broker, 3)
    first = broker.settle_and_claim(outcomes, "w1", None, 1)

    again = broker.settle_and_claim(outcomes, "w1", None, 5)

    assert again.accepted == first.accepted == jobs.ids(outcomes)
    assert len(again.claimed) == 2
    assert not jobs.ids(again.claimed) & jobs.ids(first.claimed)


def test_the_token_is_the_callers(broker):
    """Whoever must find a claim whose reply is lost draws its token."""
    (held,) = jobs.claimed(broker)
    jobs.pushed(broker)

    turn = broker.settle_and_claim([jobs.succeeded(broker, held)], "w1", None, 1, token=12345)

    assert [job.token for job in turn.claimed] == [12345]


def test_either_may_be_left_out(broker):
    """Without outcomes it is a claim, without room for jobs it settles."""
    first, _ = jobs.pushed(broker, 2)

    claimed = broker.settle_and_claim([], "w1", None, 1).claimed
    turn = broker.settle_and_claim([jobs.succeeded(broker, job) for job in claimed], "w1", None, 0)

    assert jobs.ids(claimed) == {first.id} == turn.accepted
    assert turn.claimed == []


def test_queues_tasks_and_crashed_jobs(broker):
    """The claim leaves the same jobs alone as any other."""
    (held,) = jobs.claimed(broker)
    (crashed,) = jobs.crashed(broker)
    jobs.pushed(broker, queue_name="mail")
    jobs.pushed(broker, task_path="app.gone")
    (mine,) = jobs.pushed(broker)

    turn = broker.settle_and_claim([jobs.succeeded(broker, held)], "w1", ["default"], 9, ["app.gone"])
    alone = broker.settle_and_claim(
        [jobs.succeeded(broker, mine._replace(**_claim_of(turn)))], "w1", None, 9, alone=True
    )

    assert jobs.ids(turn.claimed) == {mine.id}
    assert jobs.ids(alone.claimed) == {crashed.id}


def _claim_of(turn):
    (job,) = turn.claimed
    return job._asdict()


def test_who_waits_is_told(broker):
    """An end that is stored on the way is announced like any other."""
    (job,) = jobs.claimed(broker)
    jobs.pushed(broker)
    done = jobs.succeeded(broker, job)

    ended, turn = together(
        broker,
        lambda: broker.wait_for(job.id, LONG),
        lambda: broker.settle_and_claim([done], "w1", None, 1),
    )

    assert ended == done
    assert len(turn.claimed) == 1
