"""hold_lifeline and has_lifeline: what shows that a worker lives while it cannot beat."""

import os

import pytest
from django.conf import settings
from django.db import transaction

from mainspring.brokers.base import WorkerInfo
from tests.contract import jobs
from tests.contract.threads import elsewhere

ON_SQLITE = pytest.mark.skipif(settings.DATABASE != "sqlite", reason="here the beat does")


def test_nobody(broker):
    """Of a worker that nobody has heard of, nobody can tell whether it lives."""
    assert broker.has_lifeline("w1") is None


def test_held(broker):
    """Whoever holds a lifeline lives; where there are none, the beat decides."""
    file = broker.hold_lifeline("w1")
    if file is None:
        assert broker.has_lifeline("w1") is None
        return

    assert broker.has_lifeline("w1") is True
    os.close(file)
    assert broker.has_lifeline("w1") is False
    broker.leave(["w1"])
    assert broker.has_lifeline("w1") is None


@ON_SQLITE
def test_a_transaction_keeps_nobody_from_living(database_broker):
    """While a task holds the only write lock, others still see that its worker lives."""
    file = database_broker.hold_lifeline("w1")
    with transaction.atomic():
        jobs.pushed(database_broker)

        assert elsewhere(database_broker, lambda: database_broker.has_lifeline("w1")) is True
    os.close(file)
    database_broker.leave(["w1"])


@ON_SQLITE
def test_leave_tidies_up(database_broker):
    """What neither a known nor a living worker has is deleted when anybody leaves; the rest stays."""
    living, known, stale, gone = (database_broker.hold_lifeline(id) for id in ("living", "known", "stale", "gone"))
    database_broker.beat([WorkerInfo("known"), WorkerInfo("gone")])
    for file in (known, stale, gone):
        os.close(file)

    database_broker.leave(["gone"])

    found = {id: database_broker.has_lifeline(id) for id in ("living", "known", "stale", "gone")}
    assert found == {"living": True, "known": False, "stale": None, "gone": None}
    os.close(living)
    database_broker.leave(["known", "living"])
