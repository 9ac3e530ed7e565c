"""The brokers that every test of the contract runs on: memory, and the one of the store under test."""

import pytest
from django.conf import settings

from mainspring.brokers.memory import MemoryBroker
from tests.contract.brokers import new_broker
from tests.contract.clocks import FrozenClock
from tests.contract.tables import empty

# Real commits. Without apps pytest-django finds no table to flush, which takes a tenth of a second; `tables` does it.
REAL_COMMITS = pytest.mark.django_db(transaction=True, available_apps=[])


def pytest_collection_modifyitems(items):
    for item in items:
        if {"tables", "stored_broker"} & set(item.fixturenames):
            item.add_marker(REAL_COMMITS)


@pytest.fixture(params=["memory", pytest.param(settings.STORE, marks=REAL_COMMITS)])
def broker(request):
    """An empty broker whose clock stands still; the test runs once on each."""
    return request.getfixturevalue("memory_broker" if request.param == "memory" else "stored_broker")


@pytest.fixture
def stored_broker(request):
    """The broker of the store under test, empty, with a clock that stands still."""
    return request.getfixturevalue("redis_broker" if settings.STORE == "redis" else "database_broker")


@pytest.fixture
def memory_broker():
    return MemoryBroker("default", FrozenClock())


@pytest.fixture
def database_broker(tables, remembered_claims):
    if settings.STORE == "redis":
        pytest.skip("is about brokers on databases")
    broker = new_broker(FrozenClock())
    yield broker
    broker.close()


@pytest.fixture
def remembered_claims(monkeypatch):
    """Let a broker remember where claims found nothing as long as it ever may, not only while a look takes long."""
    monkeypatch.setattr("mainspring.brokers.database.cursor.PAUSE", 10**9)


@pytest.fixture
def tables():
    """Our tables, empty again after the test."""
    yield
    empty("default")
