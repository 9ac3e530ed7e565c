"""What docs/reference/redis.md tells programs in other languages, done as they would: with plain commands."""

import json
import time

import pytest

from mainspring.compat import task_backends
from mainspring.job import State
from mainspring.testing import drain

PREFIX = "{mainspring:default}"
LINE = "default\0tests.app.tasks.add\0"
ARGUMENTS = '{"args":[1,2],"kwargs":{}}'

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def backend():
    return task_backends["default"]


def test_enqueue(redis, backend):
    """The job runs, and can be looked up, listed and waited for like any other."""
    moment = time.time_ns() // 1000
    record = [1, "ready", "default", 0, "tests.app.tasks.add", ARGUMENTS, moment, None, (100 << 52) + moment]
    transaction = redis.pipeline(transaction=True)
    transaction.hsetnx(f"{PREFIX}:jobs", "from-go-1", json.dumps(record))
    transaction.zadd(f"{PREFIX}:ready", {LINE + f"{100:03x}{moment:013x}" + "from-go-1": 0})
    transaction.zadd(f"{PREFIX}:by_id", {"ready\0" + LINE + "from-go-1": 0})
    transaction.publish(f"{PREFIX}:wake", "")
    transaction.execute()

    assert [job.id for job in backend.broker.search(states=[State.READY])] == ["from-go-1"]
    assert drain() == 1
    assert backend.get_result("from-go-1").get(timeout=0) == 3
    assert json.loads(redis.hget(f"{PREFIX}:jobs", "from-go-1"))[:2] == [1, "succeeded"]
    assert redis.hexists(f"{PREFIX}:claims", "from-go-1") is False
    backend.broker.delete(["from-go-1"])
    assert redis.keys(f"{PREFIX}:*") == []


def test_enqueue_for_later(redis, backend):
    """The score is the moment."""
    moment = time.time_ns() // 1000
    record = [1, "deferred", "default", 0, "tests.app.tasks.add", ARGUMENTS, moment, moment, None, moment]
    transaction = redis.pipeline(transaction=True)
    transaction.hsetnx(f"{PREFIX}:jobs", "from-go-2", json.dumps(record))
    transaction.zadd(f"{PREFIX}:deferred", {LINE + "from-go-2": moment})
    transaction.zadd(f"{PREFIX}:by_id", {"deferred\0" + LINE + "from-go-2": 0})
    transaction.execute()

    assert backend.broker.promote(10) is None
    assert drain() == 1
    assert backend.get_result("from-go-2").get(timeout=0) == 3


def test_the_order_is_the_one_of_the_broker(redis, backend):
    """A job that Mainspring has pushed has the same rank, line and record."""
    from tests.app import tasks

    result = tasks.add.using(priority=7).enqueue(1, 2)
    job = backend.broker.get(result.id)

    [member] = redis.zrange(f"{PREFIX}:ready", 0, -1)
    assert member.decode() == LINE + f"{100 - 7:03x}{job.enqueued_at:013x}" + job.id
    record = json.loads(redis.hget(f"{PREFIX}:jobs", job.id))
    assert record[:10] == [
        *[1, "ready", "default", 7, "tests.app.tasks.add", job.arguments],
        *[job.enqueued_at, None, (93 << 52) + job.enqueued_at, None],
    ]
