"""adopt: the store remembers whose it is."""

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.exceptions import BrokerRefused
from tests.contract.test_hostile import raw_texts
from tests.contract.threads import elsewhere, together


def test_nobody_has_said(broker):
    """A new store belongs to nobody in particular."""
    assert broker.beat([WorkerInfo("w1")]).site is None
    assert broker.beat([]).site is None


def test_adopted(broker):
    """Every beat shows the name, also that of another process."""
    broker.adopt("production")

    assert broker.beat([WorkerInfo("w1")]).site == "production"
    assert elsewhere(broker, lambda: broker.beat([]).site) == "production"


def test_adopted_again(broker):
    """The last name counts; to say the same once more changes nothing."""
    for site in ("production", "staging", "staging"):
        broker.adopt(site)

    assert broker.beat([]).site == "staging"


def test_adopted_by_many(broker):
    """Whoever is last gives the name; nobody is in the way of the others."""
    together(broker, *[lambda name=name: [broker.adopt(name) for _ in range(10)] for name in ("a", "b", "c")])

    assert broker.beat([]).site in ("a", "b", "c")


@pytest.mark.parametrize("name", ["Ünïcödé 🚀", 'it\'s "100%" %s \\', " production", "Production ", "x" * 100])
def test_any_name(broker, name):
    """A name comes back letter by letter."""
    broker.adopt(name)

    assert broker.beat([]).site == name


@raw_texts
def test_raw_text(broker, text):
    """What the store cannot hold is refused and changes nothing; what it can comes back as it was."""
    broker.adopt("production")
    try:
        broker.adopt(text)
    except BrokerRefused:
        assert broker.beat([]).site == "production"
    else:
        assert broker.beat([]).site == text


def test_long_name(broker):
    """A name that is too long for the store is refused, never cut."""
    try:
        broker.adopt("x" * 10_000)
    except BrokerRefused:
        assert broker.beat([]).site is None
    else:
        assert broker.beat([]).site == "x" * 10_000
