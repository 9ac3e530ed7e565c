"""A store that cannot be used: whoever enqueues is told at once, in one kind of error, and nothing is half done."""

import sqlite3
from contextlib import closing

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connections, transaction

import mainspring
from mainspring import outbox
from mainspring.backends import broker_for
from mainspring.exceptions import InvalidOptions
from mainspring.testing import travel
from tests import servers
from tests.app import tasks
from tests.stores import only_databases

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "other"]), only_databases]
only_sqlite = pytest.mark.skipif(settings.DATABASE != "sqlite", reason="a server has no file that others lock")

CALLS = {
    "enqueue": lambda: tasks.noop.enqueue(),
    "aenqueue": lambda: async_to_sync(tasks.noop.aenqueue)(),
    "enqueue_many": lambda: mainspring.enqueue_many(tasks.add, [(1, 2), (3, 4)]),
    "get_result": lambda: tasks.noop.get_result("some-id"),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
writes = pytest.mark.parametrize("call", list(CALLS.values())[:3], ids=list(CALLS)[:3])


@pytest.fixture
def keep_jobs_in(settings, monkeypatch):
    """Let the default backend keep its jobs in the database `other`, with these settings of it changed."""
    connection = connections["other"]

    def keep_jobs_in(**changes):
        connection.close()
        for name, value in changes.items():
            monkeypatch.setitem(connection.settings_dict, name, value)
        settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": {"database": "other"}}}

    yield keep_jobs_in
    connection.close()


@pytest.fixture
def without_tables(keep_jobs_in, tmp_path):
    """Nobody has migrated this one."""
    name = str(tmp_path / "empty.sqlite3") if settings.DATABASE == "sqlite" else servers.NAMES["default"]
    keep_jobs_in(NAME=name)


@pytest.fixture
def away(keep_jobs_in):
    """A port that nobody serves, a folder that is not there."""
    keep_jobs_in(**{"NAME": "/nowhere/jobs.sqlite3"} if settings.DATABASE == "sqlite" else {"PORT": "1"})


@calls
def test_a_database_without_tables(without_tables, call):
    """The error names the database and the command."""
    with pytest.raises(mainspring.BrokerUnavailable, match=r"run `manage\.py migrate --database other`"):
        call()


@calls
def test_a_database_that_is_away(away, call):
    """The error names the database; its driver's own is the cause."""
    with pytest.raises(mainspring.BrokerUnavailable, match=r"DATABASES\['other'\]") as error:
        call()
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("trouble", ["without_tables", "away"])
def test_in_a_transaction_of_another_database_nothing_is_lost(trouble, request, monkeypatch, caplog):
    """The job stays in the outbox of that transaction, whose commit holds, until the store can be used."""
    request.getfixturevalue(trouble)
    with transaction.atomic():
        result = tasks.noop.enqueue()
    assert f"Jobs {result.id} stay in the outbox of DATABASES['default'] for now" in caplog.text

    monkeypatch.undo()
    connections["other"].close()
    outbox._left_alone.clear()
    with travel(10):
        assert outbox.sweep(broker_for("default")) == 1
    result.refresh()
    assert result.state == "ready"


@only_sqlite
@writes
def test_a_file_that_cannot_be_written(keep_jobs_in, call):
    """To read it is still possible."""
    keep_jobs_in(NAME=f"file:{connections['other'].settings_dict['NAME']}?mode=ro")

    with pytest.raises(mainspring.BrokerUnavailable, match="readonly"):
        call()
    assert broker_for("default").search() == []


@pytest.fixture
def file(keep_jobs_in):
    """The path of a file that nobody waits for long while it is locked."""
    keep_jobs_in(OPTIONS={"timeout": 0.1})
    return connections["other"].settings_dict["NAME"]


@only_sqlite
@writes
def test_a_file_that_is_locked(file, call):
    """Nothing is stored, and once the lock is gone everything is."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(mainspring.BrokerUnavailable, match="database is locked"):
            call()
    assert broker_for("default").search() == []
    assert call()


@only_sqlite
def test_a_file_that_is_locked_before_a_transaction_writes(file):
    """The error ends the transaction, which can be tried again."""
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as other,
        pytest.raises(mainspring.BrokerUnavailable, match="database is locked"),
        transaction.atomic(using="other"),
    ):
        other.execute("BEGIN IMMEDIATE")
        tasks.noop.enqueue()

    assert broker_for("default").search() == []
    with transaction.atomic(using="other"):
        tasks.noop.enqueue()
    assert len(broker_for("default").search()) == 1


@calls
def test_misspelt_options(settings, call):
    """All of them are named, at the first use of the backend."""
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": {"treads": 2, "max_attempts": "many"}}}

    with pytest.raises(InvalidOptions) as error:
        call()
    assert "'treads'; did you mean 'threads'?" in str(error.value)
    assert "['max_attempts']: expected a whole number" in str(error.value)


def test_a_server_that_comes_back(server):
    """Whoever was refused only has to ask again."""
    tasks.noop.enqueue()
    server.stop()
    for _ in range(2):
        with pytest.raises(mainspring.BrokerUnavailable):
            tasks.noop.enqueue()
    server.start()

    tasks.noop.enqueue()
    assert len(broker_for("default").search()) == 2
