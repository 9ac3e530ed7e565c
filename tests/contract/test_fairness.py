"""Fairness: jobs of other keys need not wait behind many of one."""

import pytest

from tests.contract import jobs

MANY = 40


def fair(broker, number, key, length=1000, priority=0, queue_name="default", **facts):
    """Push jobs of a fair key, oldest first."""
    fair_key = f"{length}:fair:{priority}:{queue_name}:={key}"
    return jobs.pushed(broker, number, fair_key=fair_key, priority=priority, queue_name=queue_name, **facts)


def lined_up(broker, limit=100):
    """Give ranks to all that wait for one."""
    for _ in range(100):
        if broker.promote(limit) != 0:
            return
    raise AssertionError("Jobs still wait for a rank.")


def ran(broker, number):
    """Run so many jobs, one at a time; return them as they were claimed."""
    claims = []
    for _ in range(number):
        (job,) = broker.claim("w1", None, 1)
        broker.settle([jobs.succeeded(broker, job)])
        broker.clock.travel(0.01)
        claims.append(job)
    return claims


def keys(claims):
    return "".join(job.fair_key[-1] for job in claims)


def test_a_job_waits_for_a_rank_until_a_worker_gives_it_one(broker):
    (job,) = fair(broker, 1, "a")
    assert broker.get(job.id).state == "parked"
    assert broker.claim("w1", None, 1) == []
    assert broker.beat([]).next_due == 0
    assert broker.promote(10) is None
    assert broker.get(job.id).state == "ready"
    assert broker.get(job.id).parked_under is broker.get(job.id).place is None
    assert jobs.ids(broker.claim("w1", None, 1)) == {job.id}


def test_jobs_of_one_key_stay_in_order(broker):
    pushed = fair(broker, MANY, "a")
    lined_up(broker, limit=7)
    assert [job.id for job in ran(broker, MANY)] == [job.id for job in pushed]


def test_who_comes_later_takes_turns_with_who_has_many(broker):
    fair(broker, MANY, "a")
    lined_up(broker)
    ran(broker, 10)
    fair(broker, 5, "b")
    lined_up(broker)

    order = keys(ran(broker, 12))
    assert order.count("b") == 5
    assert "bb" not in order
    assert "b" in order[:2]


def test_a_backlog_that_has_no_ranks_yet_keeps_nobody_waiting(broker):
    fair(broker, 3 * MANY, "a")
    fair(broker, 1, "b")
    broker.promote(10)

    assert "b" in keys(ran(broker, 3))


def test_a_weight_is_a_share(broker):
    fair(broker, MANY, "a", length=1000)
    fair(broker, MANY, "b", length=250)
    lined_up(broker)

    order = keys(ran(broker, 25))
    assert 18 <= order.count("b") <= 21


def test_priority_goes_first_and_queues_are_lines_of_their_own(broker):
    fair(broker, 3, "a")
    (urgent,) = fair(broker, 1, "a", priority=10)
    (elsewhere,) = fair(broker, 1, "b", queue_name="mail")
    lined_up(broker)
    assert jobs.ids(broker.claim("w1", ["default"], 1)) == {urgent.id}
    assert jobs.ids(broker.claim("w1", ["mail"], 5)) == {elsewhere.id}


def test_a_key_that_was_busy_is_not_punished_later(broker):
    fair(broker, MANY, "a")
    lined_up(broker)
    ran(broker, MANY)
    fair(broker, 4, "b")
    fair(broker, 4, "a")
    lined_up(broker)

    assert "a" in keys(ran(broker, 3))


def test_more_names_than_one_look_sees_to(broker):
    for number in range(100):
        fair(broker, 1, f"{number:03d}")
    lined_up(broker)
    assert len(broker.claim("w1", None, 200)) == 100


@pytest.mark.parametrize("outcome", [lambda broker, job: jobs.retried(broker, job, delay=0)])
def test_one_that_is_tried_again_gets_a_new_rank(broker, outcome):
    (job,) = fair(broker, 1, "a")
    lined_up(broker)
    (claim,) = broker.claim("w1", None, 1)
    broker.settle([outcome(broker, claim)])
    assert broker.get(job.id).state == "deferred"
    broker.clock.travel(1)
    lined_up(broker)
    assert jobs.ids(broker.claim("w1", None, 1)) == {job.id}


def test_a_deferred_one_lines_up_when_it_is_due(broker):
    (job,) = fair(broker, 1, "a", run_after=broker.clock.moment() + 1_000_000)
    lined_up(broker)
    assert broker.get(job.id).state == "deferred"
    broker.clock.travel(2)
    lined_up(broker)
    assert broker.get(job.id).state == "ready"


def test_one_that_waits_for_a_rank_can_be_cancelled(broker):
    (job,) = fair(broker, 1, "a")
    assert jobs.ids(broker.cancel([job.id])) == {job.id}
    assert broker.promote(10) is None
