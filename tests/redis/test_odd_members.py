"""Members of sorted sets, claims and scores that another program got wrong: they stop nobody."""

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.redis.keys import Keys
from mainspring.job import State
from tests.contract import jobs

KEYS = Keys.of("mainspring:default")
RANK = "0640000000000001"
MEMBERS = ["", "x", "default", "default\0", f"default\0{RANK}id", "a\0b", "\0\0", "\0\0\0\0\0"]
MEMBERS += ["default\0app.tasks.add\0"]
members = pytest.mark.parametrize("member", MEMBERS)


def use(broker):
    """Go through all that looks at lines."""
    good, later = jobs.pushed(broker), jobs.pushed(broker, run_after=broker.clock.moment() + 1_000_000)
    broker.clock.travel(2)
    broker.promote(10)
    claimed = (
        broker.claim("w1", None, 10) + broker.claim("w1", ["default"], 10) + broker.claim("w1", None, 5, alone=True)
    )
    assert jobs.ids(claimed) == jobs.ids(good + later)
    broker.search()
    broker.search(queue_name="default", task_path="app.tasks.add")
    broker.counts(0)
    assert jobs.ids(broker.held_by(["w1"], 10)) == jobs.ids(claimed)
    assert broker.settle([jobs.succeeded(broker, job) for job in claimed]) == jobs.ids(claimed)
    broker.clock.travel(2)
    assert broker.prune([State.SUCCEEDED], broker.clock.moment(), 10) == 2
    broker.beat([WorkerInfo("w1")], ["default"])


@members
@pytest.mark.parametrize("key", [KEYS.ready, KEYS.alone, KEYS.deferred, KEYS.ended, KEYS.by_id])
def test_a_member_without_its_parts(broker, redis, key, member):
    redis.zadd(key, {member: 0})

    use(broker)


@pytest.mark.parametrize("claim", ["", "x", "1", "1 2", "1 2 w", "1 2 w\0", "x y w\0a", "1 2 w\0a\0b\0c\0"])
def test_a_claim_without_its_parts(broker, redis, claim):
    (job,) = jobs.pushed(broker)
    broker.claim("w2", None, 1)
    redis.hset(KEYS.claims, job.id, claim)
    redis.hset(KEYS.claims, "of nobody", claim)

    assert broker.get(job.id).state == State.RUNNING
    use(broker)


@pytest.mark.parametrize("score", ["inf", "-inf", "1e300", "-1e300"])
def test_a_score_beyond_all_moments(broker, redis, score):
    """It is due now, or not for long."""
    (job,) = jobs.pushed(broker, run_after=broker.clock.moment() + 1_000_000)
    redis.zadd(KEYS.deferred, {f"default\0app.tasks.add\0{job.id}": score})

    broker.beat([WorkerInfo("w1")])
    broker.promote(10)

    assert broker.get(job.id).state == (State.READY if score.startswith("-") else State.DEFERRED)


def test_a_member_that_the_record_does_not_know_of(broker, redis):
    """A program without 64-bit numbers wrote another rank: the job is not run once it has been cancelled."""
    (job,) = jobs.pushed(broker)
    redis.zadd(KEYS.ready, {f"default\0app.tasks.add\0{RANK}{job.id}": 0})

    assert jobs.ids(broker.cancel([job.id])) == {job.id}
    assert broker.claim("w1", None, 10) == []
    assert broker.claim("w1", None, 10) == []
    assert [(count.state, count.number) for count in broker.counts(0)] == [("cancelled", 1)]


def test_a_question_that_nobody_can_read(broker, redis):
    redis.hset(KEYS.questions, b"\xff", b"{")

    assert broker.beat([WorkerInfo("w1")]).questions == []
    assert broker.questions(["w1"]) == []


def test_a_job_with_an_id_that_nobody_could_settle(broker, redis):
    """It is not handed out, and can be seen."""
    (job,) = jobs.pushed(broker)
    odd = jobs.new(broker, id="é")
    broker.push([odd])

    assert jobs.ids(broker.claim("w1", None, 10)) == {job.id}
    assert broker.search(states=[State.READY]) == [odd]


def test_claims_of_nothing_hide_no_others(broker, redis):
    """A worker that died may have had both."""
    (job,) = jobs.claimed(broker)
    redis.hset(KEYS.claims, mapping={f"gone {number}": "1 2 w1\0default\0app.tasks.add\0" for number in range(300)})

    assert [held.id for held in broker.held_by(["w1"], 1)] == [job.id]
    assert jobs.ids(broker.rescue(["w1"], max_crashes=3, batch=1)) == {job.id}
