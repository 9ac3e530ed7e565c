"""The keys of an alias: few, known before, in one hash slot, and apart from those of others."""

import re

import pytest

from mainspring.brokers.admission import Demand, Request
from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.leases import Lease
from mainspring.brokers.redis.broker import MOST_AT_ONCE, PUSHED_AT_ONCE
from mainspring.brokers.redis.keys import Keys
from mainspring.brokers.uniqueness import OnConflict
from mainspring.exceptions import BrokerRefused
from tests.contract import jobs


def test_all_keys_share_a_tag_and_are_known_before(broker, redis):
    """Whatever was done, in however many queues."""
    jobs.finished(broker, 3, queue_name="mail")
    jobs.crashed(broker)
    jobs.claimed(broker)
    jobs.pushed(broker)
    jobs.pushed(broker, run_after=broker.clock.moment() + 60_000_000)
    broker.beat([WorkerInfo("w1")])
    broker.adopt("here")
    broker.answer(broker.ask("w1", "stack", "x"), "text")
    broker.push_unique([jobs.new(broker, unique_key="finish:ab12")], OnConflict.EXISTING)
    jobs.pushed(broker, 2, limits='[["x", 1]]', order_key="key:a", queue_name="limited")
    claims = broker.claim("w1", ["limited"], 2)
    broker.admit([Request(job, [Demand("x", 1, 1)]) for job in claims])
    broker.take_lease("import:7", 1)

    found = {key.decode() for key in redis.keys("*")}
    keys = Keys.of("mainspring:default")
    assert found == set(keys) - {keys.waiters, keys.guard}
    assert {re.match(r"\{(.*)\}:", key)[1] for key in found} == {"mainspring:default"}


def test_prefixes_keep_projects_apart(broker, broker_on, redis):
    """Two of them can share a Redis."""
    from django.conf import settings

    from mainspring.brokers.redis import RedisBroker

    other = RedisBroker("default", settings.REDIS_URL, "elsewhere", broker.clock)
    (job,) = jobs.pushed(broker)

    assert other.search() == []
    assert other.claim("w1", None, 10) == []
    assert broker.get(job.id) == job


def test_a_deleted_job_leaves_nothing(broker, redis):
    """Not in any of the sorted sets either."""
    broker.delete(jobs.ids(jobs.finished(broker, 5)))
    (cancelled,) = broker.cancel(jobs.ids(jobs.pushed(broker)))
    (later,) = broker.cancel(jobs.ids(jobs.pushed(broker, run_after=broker.clock.moment() + 60_000_000)))
    broker.clock.travel(10)
    assert broker.prune(["cancelled"], broker.clock.moment(), 10) == 2

    assert broker.get(cancelled.id) is broker.get(later.id) is None
    assert redis.keys("*") == []


def test_a_lock_that_is_given_back_leaves_a_number(broker, redis):
    """The last token, for a day at least."""
    broker.drop_lease(Lease("import:7", broker.take_lease("import:7", 1)))
    keys = Keys.of("mainspring:default")

    assert redis.keys("*") == [keys.fences.encode()]
    assert redis.zcard(keys.fences) == 1


def test_a_refused_push_of_many_leaves_a_guard_for_long(broker, redis):
    """Nothing else, and it stops no other push. By the server's clock seconds may pass before the last slice."""
    (taken,) = jobs.pushed(broker)
    guard = Keys.of("mainspring:default").guard
    with pytest.raises(BrokerRefused):
        broker.push([*(jobs.new(broker) for _ in range(2 * PUSHED_AT_ONCE)), taken])

    assert 600 < redis.ttl(guard) <= 3600
    others = jobs.pushed(broker, 2 * PUSHED_AT_ONCE)
    assert jobs.ids(broker.search(limit=10_000)) == jobs.ids([taken, *others])


def test_the_largest_push_is_refused_as_a_whole(broker, redis):
    """However long the server takes for it."""
    (taken,) = jobs.pushed(broker)
    with pytest.raises(BrokerRefused, match="nothing was stored"):
        broker.push([*(jobs.new(broker) for _ in range(MOST_AT_ONCE - 1)), taken])
    with pytest.raises(BrokerRefused, match="Nothing was stored"):
        broker.push([jobs.new(broker) for _ in range(MOST_AT_ONCE + 1)])

    assert redis.hlen(Keys.of("mainspring:default").jobs) == 1


def test_an_id_that_is_a_new_job_by_now_is_not_deleted(broker, monkeypatch):
    """Somebody pruned the job, and somebody pushed its id, between our look and our deletion."""
    (old,) = jobs.finished(broker)
    new = jobs.new(broker, id=old.id)
    read = broker._read

    def read_and_be_late(ids):
        found = list(read(ids))
        monkeypatch.undo()
        assert broker.delete([old.id]) == 1
        broker.push([new])
        return found

    monkeypatch.setattr(broker, "_read", read_and_be_late)

    assert broker.delete([old.id]) == 0
    assert broker.get(old.id) == new
    assert broker.claim("w1", None, 1)[0].id == new.id
