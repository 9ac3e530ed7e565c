"""What only Redis has: scripts, keys, memory, replicas. These tests are skipped where another store is under test."""

from pathlib import Path

import pytest

from tests.contract.clocks import FrozenClock
from tests.stores import only_redis


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(only_redis)


@pytest.fixture
def broker(redis_broker):
    return redis_broker


@pytest.fixture
def broker_on():
    """Make a broker on a server: `broker_on(server.url)`."""
    from mainspring.brokers.redis import RedisBroker

    brokers = []

    def make(url, clock=None):
        brokers.append(RedisBroker("default", url, "mainspring:default", clock or FrozenClock()))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.close()
