"""Records that no broker has written: each can be seen, and fails alone."""

import json

import pytest

from mainspring.brokers.redis.keys import Keys
from mainspring.brokers.redis.records import VERSION, encode
from mainspring.job import State
from tests.contract import jobs

KEYS = Keys.of("mainspring:default")
GARBAGE = {
    "nothing": b"",
    "not JSON": b"{broken",
    "not UTF-8": b"\xff\xfe\x00",
    "null": b"null",
    "an object": b'{"id": 3}',
    "a text": b'"ready"',
    "too few fields": json.dumps([VERSION, "ready"]).encode(),
    "other types": json.dumps([VERSION, 1, 2, "3", 4, 5, "6"]).encode(),
    "a nested list": b"[" * 50_000,
}
garbage = pytest.mark.parametrize("record", GARBAGE.values(), ids=GARBAGE)


@garbage
def test_a_damaged_record_is_claimed_and_can_be_failed(broker, redis, record):
    """Its line tells queue and task; what stood in it becomes the arguments, which nobody can read either."""
    damaged, good = jobs.pushed(broker, 2)
    redis.hset(KEYS.jobs, damaged.id, record)

    first, second = broker.claim("w1", None, 10)

    assert second.id == good.id
    assert (first.id, first.queue_name, first.task_path) == (damaged.id, damaged.queue_name, damaged.task_path)
    assert first.arguments == record.decode(errors="replace")
    assert broker.settle([jobs.failed(broker, first), jobs.succeeded(broker, second)]) == {first.id, second.id}
    assert broker.get(damaged.id).state == State.FAILED
    assert broker.delete([damaged.id, good.id]) == 2
    assert redis.keys("*") == []


@garbage
def test_a_damaged_record_can_be_seen(broker, redis, record):
    """By its id and in lists, in the state in which it stands."""
    (ended,), (ready,) = jobs.finished(broker, queue_name="mail"), jobs.pushed(broker)
    for job in (ready, ended):
        redis.hset(KEYS.jobs, job.id, record)

    assert broker.get(ready.id).arguments == record.decode(errors="replace")
    assert {job.id: job.state for job in broker.search()} == {ready.id: "ready", ended.id: "succeeded"}
    assert broker.search(states=["succeeded"], queue_name="mail")[0].task_path == ended.task_path


@garbage
def test_a_damaged_record_falls_due_with_the_others(broker, redis, record):
    """And keeps none of them waiting."""
    damaged, good = jobs.pushed(broker, 2, run_after=broker.clock.moment() + 1_000_000)
    redis.hset(KEYS.jobs, damaged.id, record)
    broker.clock.travel(2)

    assert broker.promote(10) is None
    assert jobs.ids(broker.claim("w1", None, 10)) == {damaged.id, good.id}


@garbage
def test_a_damaged_record_can_be_rescued(broker, redis, record):
    """Its worker has died."""
    (job,) = jobs.claimed(broker)
    redis.hset(KEYS.jobs, job.id, record)

    assert [(rescued.id, rescued.crashes) for rescued in broker.rescue(["w1"], max_crashes=3)] == [(job.id, 1)]
    assert broker.claim("w1", None, 1, alone=True)[0].id == job.id


def test_what_has_no_record_is_passed_over(broker, redis):
    """In every line, and it goes away."""
    ready, deferred = jobs.pushed(broker)[0], jobs.pushed(broker, run_after=broker.clock.moment() + 1_000_000)[0]
    redis.hdel(KEYS.jobs, ready.id, deferred.id)
    broker.clock.travel(2)

    assert broker.search() == []
    assert broker.claim("w1", None, 10) == []
    assert broker.promote(10) is None
    assert redis.zcard(KEYS.ready) == redis.zcard(KEYS.deferred) == 0


def test_a_record_of_a_newer_version_can_be_read(broker, redis):
    """Fields are added behind the others only."""
    (job,) = jobs.pushed(broker)
    redis.hset(KEYS.jobs, job.id, json.dumps([VERSION + 1, *json.loads(encode(job))[1:], "a new field"]))

    assert broker.get(job.id) == job
    assert broker.claim("w1", None, 1)[0].id == job.id


@pytest.mark.parametrize("field", sorted(set(KEYS) - {KEYS.waiters}))
def test_a_key_that_holds_something_else_is_named(broker, redis, field):
    """No error of the client's comes through."""
    from mainspring.exceptions import BrokerUnavailable

    redis.lpush(field, "a list")
    with pytest.raises(BrokerUnavailable, match="is its prefix used by another program"):
        broker.beat([], None)
        jobs.finished(broker)
        broker.workers()
        broker.questions(["w1"])
        broker.answer_to("id")
        broker.claim("w1", None, 1, alone=True)
        broker.adopt("here") or broker.beat([], None)
        broker.take_lease("a", 1)
        broker.check()
