"""A server whose memory is full: whoever enqueues is told, what is stored already runs to its end."""

import threading

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.redis.broker import PUSHED_AT_ONCE
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import until

ROOM = 8_000_000  # bytes


@pytest.fixture
def full(redis, broker):
    """Fill the memory with jobs, until no more is taken; returns those that were stored."""
    stored = []
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + ROOM)
    try:
        with pytest.raises(BrokerUnavailable, match=r"its memory is full: raise maxmemory.*It said: .*maxmemory"):
            for _ in range(10_000):
                stored += jobs.pushed(broker, 10, arguments='"' + "x" * 5000 + '"')
        yield stored
    finally:
        redis.config_set("maxmemory", 0)


def test_what_is_stored_runs_and_is_kept(full, broker):
    """A claim, a beat, an outcome and a retry need no room of their own."""
    broker.beat([WorkerInfo("w1")])
    claimed = broker.claim("w1", None, 100)
    ended = [jobs.succeeded(broker, job) for job in claimed[:50]]
    again = [jobs.retried(broker, job, delay=60) for job in claimed[50:]]

    assert len(claimed) == 100
    assert broker.settle([*ended, *again]) == jobs.ids(claimed)
    assert {broker.get(job.id).state for job in again} == {State.DEFERRED}
    broker.clock.travel(61)
    assert broker.promote(100) is None
    assert len(broker.cancel(jobs.ids(again))) == 50


@pytest.mark.parametrize("number", [100, 3 * PUSHED_AT_ONCE])
def test_nothing_is_stored_by_half(full, broker, number):
    """Of a push that is refused, neither one job nor some; of one in several scripts neither."""
    stored = len(full)
    while True:
        new = [jobs.new(broker, arguments='"' + "x" * (500_000 // number) + '"') for _ in range(number)]
        try:
            broker.push(new)  # there may be room again: the server gives back what earlier commands took
        except BrokerUnavailable:
            break
        stored += len(new)

    assert [count.number for count in broker.counts(0)] == [stored]
    assert [broker.get(job.id) for job in new] == [None] * number


def test_room_is_made_by_pruning(full, broker):
    """Then jobs are taken again, as soon as the server has given back what our large commands took."""
    claimed = broker.claim("w1", None, 500)
    broker.settle([jobs.succeeded(broker, job) for job in claimed])
    broker.clock.travel(10)
    assert broker.prune([State.SUCCEEDED], broker.clock.moment(), 500) == len(claimed)

    for _ in until(lambda: is_taken(broker)):
        pass


def is_taken(broker):
    try:
        return jobs.pushed(broker, 10)
    except BrokerUnavailable:
        return False


def test_a_wait_goes_on(full, broker):
    """There is no room to say that somebody waits, so it asks."""
    (job, *_) = broker.claim("w1", None, 1)
    threading.Timer(0.2, lambda: broker.settle([jobs.succeeded(broker, job)])).start()

    assert broker.wait_for(job.id, 20).state == State.SUCCEEDED
