"""now: what a process that does not beat takes for the time."""

import pytest
from django.conf import settings
from django.db import connections
from django.test.utils import CaptureQueriesContext

from mainspring.brokers.store_time import ASK_FOR_TIME_EVERY, TOLERATED
from mainspring.clock import SECOND, Clock
from tests.contract.brokers import new_broker

HOUR = 3600 * SECOND
with_a_clock = pytest.mark.skipif(settings.STORE == "sqlite", reason="SQLite has no clock of its own")


class Wrong(Clock):
    """A machine's clock that is off by so many microseconds."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def moment(self):
        return super().moment() + (self.error if self.offset is None else 0)


@pytest.fixture
def broker_of(stored_broker):
    return new_broker


@with_a_clock
@pytest.mark.parametrize("error", [HOUR, -HOUR, 2 * TOLERATED])
def test_a_clock_that_is_wrong_is_set(broker_of, error):
    """The store's own is right for all who use it."""
    assert abs(broker_of(Wrong(error)).now() - Clock().moment()) < TOLERATED


def test_a_clock_that_is_nearly_right_is_left_alone(broker_of):
    """An answer over a network is not more exact."""
    broker = broker_of(Wrong(TOLERATED // 5))
    broker.now()

    assert broker.clock.offset is None


@with_a_clock
def test_a_clock_that_goes_wrong_later_is_noticed(broker_of):
    """The store is asked again after a while, and not before."""
    clock = Wrong(0)
    broker = broker_of(clock)
    broker.now()
    clock.error = HOUR
    assert broker.now() > Clock().moment() + HOUR // 2

    clock.travel(ASK_FOR_TIME_EVERY)
    broker.now()
    assert clock.offset is not None


def test_to_ask_is_no_query_that_anybody_counts(broker_of):
    """A project's tests count those of an enqueue."""
    with CaptureQueriesContext(connections["default"]) as queries:
        broker_of(Wrong(HOUR)).now()

    assert len(queries) == 0
