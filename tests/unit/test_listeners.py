"""Listeners of databases, as far as the contract cannot see: second looks, and polling where nobody can call."""

import pytest
from django.conf import settings

from mainspring.brokers import listening
from mainspring.brokers.database import DatabaseBroker, listeners, mysql, postgresql
from mainspring.brokers.database.listeners import PollingListener
from mainspring.brokers.listening import LOOK_AGAIN_AFTER, WAKE_EVERY, WakeListener


class Watch:
    """Stands in for the module `time`; its hands are moved by the test."""

    now = 1_000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def watch(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(listeners, "time", watch)
    monkeypatch.setattr(listening, "time", watch)
    return watch


class Bell(WakeListener):
    """A listener that was woken when `rung` is set."""

    rung = False

    def fileno(self):
        return None

    def close(self):
        pass

    def _was_woken(self):
        rung, self.rung = self.rung, False
        return rung


@pytest.fixture
def bell(watch):
    bell = Bell()
    watch.now += LOOK_AGAIN_AFTER
    assert bell.has_news()  # whoever has just begun to listen looks
    return bell


def test_looks_once_more(bell, watch):
    """Whoever was woken looks once more, for the sake of those whose call was suppressed."""
    bell.rung = True
    assert bell.has_news()

    assert not bell.has_news()
    assert bell.interval == pytest.approx(LOOK_AGAIN_AFTER)

    watch.now += bell.interval
    assert bell.has_news()
    assert not bell.has_news()
    assert bell.interval > 1


def test_looks_after_the_last_suppressed_call():
    """The second look comes later than any call that the first one suppressed."""
    assert LOOK_AGAIN_AFTER > WAKE_EVERY


def test_polls_ever_more_seldom(watch):
    """Where nobody can call, an idle worker asks less and less, but twice a second at least."""
    listener = PollingListener()
    intervals = []
    for _ in range(20):
        assert not listener.has_news()
        watch.now += listener.interval
        assert listener.has_news()
        intervals.append(listener.interval)

    assert intervals == sorted(intervals)
    assert intervals[-1] == PollingListener.LONGEST == 0.5


def test_polls_often_after_work(watch):
    """A worker that was busy for a while begins with short intervals again."""
    listener = PollingListener()
    listener.interval = PollingListener.LONGEST
    watch.now += 60

    assert listener.has_news()
    assert listener.interval == PollingListener.SHORTEST


@pytest.mark.skipif(settings.DATABASE != "postgresql", reason="only PostgreSQL has LISTEN")
@pytest.mark.django_db(transaction=True)
def test_listen_that_is_dropped(monkeypatch):
    """Behind a pooler that drops LISTEN without a word the listener polls."""
    monkeypatch.setattr(postgresql, "_listen", lambda own, channel: None)

    assert isinstance(DatabaseBroker("default").listen(), PollingListener)


@pytest.mark.skipif(settings.DATABASE != "mariadb", reason="only MariaDB and MySQL are woken by KILL QUERY")
@pytest.mark.django_db(transaction=True)
def test_a_sleep_that_nobody_can_cut_short(monkeypatch):
    """Behind a pooler that hides who sleeps the listener polls."""
    monkeypatch.setattr(mysql, "_wake_up", lambda connection, topics: None)

    assert isinstance(DatabaseBroker("default").listen(), PollingListener)
