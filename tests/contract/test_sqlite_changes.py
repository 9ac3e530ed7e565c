"""How SQLite's listener finds out that somebody has written, and what it takes for news."""

import contextlib
import time

import pytest
from django.conf import settings
from django.db import connection, transaction

from mainspring.brokers.database import changes
from tests.contract import jobs
from tests.contract.test_listening import hears, quiet
from tests.contract.threads import elsewhere

pytestmark = pytest.mark.skipif(settings.DATABASE != "sqlite", reason="other databases call")


@pytest.fixture(params=["told by the kernel", "told by nobody"])
def listener(request, database_broker, monkeypatch):
    if request.param == "told by nobody":
        monkeypatch.setattr(changes, "WriteWatch", cannot_tell)
    with contextlib.closing(database_broker.listen()) as listener:
        assert listener.fileno() is None or request.param == "told by the kernel"
        quiet(listener)
        yield listener


def cannot_tell():
    raise OSError("no inotify")


def write_something_else():
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_site SET name = name || '!'")


@pytest.fixture
def _other_table(database_broker):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS django_site (name text)")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_site")


def test_a_job_is_news(database_broker, listener):
    """Also the second and the third."""
    for _ in range(3):
        elsewhere(database_broker, lambda: jobs.pushed(database_broker))
        assert hears(listener)
        database_broker.claim("w1", None, 5)
        quiet(listener)


@pytest.mark.usefixtures("_other_table")
def test_what_others_write_is_no_news(database_broker, listener):
    """A database that the project writes to all the time wakes nobody."""
    jobs.pushed(database_broker)
    database_broker.claim("w1", None, 5)
    quiet(listener)

    for _ in range(5):
        elsewhere(database_broker, write_something_else)
        assert not hears(listener, within=0.03)


def test_a_new_due_moment_is_news(database_broker, listener):
    """Whoever promotes jobs has to know the first; a later one changes nothing."""
    at = database_broker.clock.moment()
    for seconds, is_news in ((60, True), (90, False), (30, True)):
        run_after = at + seconds * 1_000_000
        elsewhere(database_broker, lambda run_after=run_after: jobs.pushed(database_broker, run_after=run_after))
        assert hears(listener, within=30 if is_news else 0.2) == is_news
        quiet(listener)


def test_a_commit_long_after_its_writes(database_broker, listener):
    """The kernel tells of writes, which show only with the commit; whoever was told too early looks again."""

    def push_slowly():
        with transaction.atomic():
            jobs.pushed(database_broker)
            # A cache that is full is written out in the middle of a transaction.
            connection.connection.execute("PRAGMA cache_size = 1")
            jobs.pushed(database_broker, 200, arguments='["' + "x" * 1000 + '"]')
            time.sleep(0.3)

    elsewhere(database_broker, push_slowly)

    assert hears(listener)


def test_a_stream_of_commits_is_looked_at_now_and_then(database_broker, listener, monkeypatch):
    """However many there are, whoever listens asks the database a few times a second only."""
    asked = []
    look = changes.data_version
    monkeypatch.setattr(changes, "data_version", lambda own: asked.append(1) or look(own))
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        elsewhere(database_broker, lambda: jobs.pushed(database_broker))
        hears(listener, within=0.001)
    seconds = time.monotonic() - began

    assert len(asked) <= 2 * seconds / changes.REST + 2


def test_a_long_transaction_does_not_keep_the_listener_busy(database_broker, listener, monkeypatch):
    """It writes again and again, and nothing of it can be seen."""
    asked = []
    look = changes.data_version
    monkeypatch.setattr(changes, "data_version", lambda own: asked.append(1) or look(own))

    def write_for_long():
        with transaction.atomic():
            connection.connection.execute("PRAGMA cache_size = 1")
            until = time.monotonic() + 0.6
            while time.monotonic() < until:
                jobs.pushed(database_broker, 20)
                hears(listener, within=0.001)

    elsewhere(database_broker, write_for_long)

    assert len(asked) < 0.6 * 200
    assert hears(listener)


@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_machine_that_watches_too_many_files(database_broker, monkeypatch, when):
    """Then SQLite is asked every few milliseconds instead."""

    def refuse(watch, files):
        raise OSError(28, "No space left on device")

    if when == "at first":
        monkeypatch.setattr(changes.WriteWatch, "arm", refuse)
    with contextlib.closing(database_broker.listen()) as listener:
        monkeypatch.setattr(changes.WriteWatch, "arm", refuse)
        quiet(listener)
        elsewhere(database_broker, lambda: jobs.pushed(database_broker))

        assert hears(listener)
        quiet(listener)
        assert listener.interval <= changes.POLL


def test_a_uri_names_a_file_too(database_broker):
    """The kernel is asked about the file that SQLite has opened, however the settings name it."""
    with contextlib.closing(database_broker.listen()) as listener:
        (path, log) = listener._files

    assert path.startswith("/")
    assert log == f"{path}-wal"
