"""A store that is away: one kind of error, with the way out in its text, and then it works again."""

import contextlib

import pytest
from django.conf import settings
from django.db import connections

from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.leases import Lease
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import ENDS
from tests import sessions
from tests.contract import jobs
from tests.contract.tables import names
from tests.contract.test_listening import hears
from tests.contract.threads import elsewhere

VERBS = {
    "push": lambda broker, job: broker.push([job]),
    "push once": lambda broker, job: broker.push([job], once=True),
    "push many": lambda broker, job: broker.push([jobs.new(broker) for _ in range(300)]),
    "claim": lambda broker, job: broker.claim("w1", None, 1),
    "claim from queues": lambda broker, job: broker.claim("w1", ["default", "mail"], 1, ["app.gone"]),
    "settle": lambda broker, job: broker.settle([job]),
    "take_lease": lambda broker, job: broker.take_lease(job.id, 1),
    "renew_leases": lambda broker, job: broker.renew_leases([Lease(job.id, 1)]),
    "drop_lease": lambda broker, job: broker.drop_lease(Lease(job.id, 1)),
    "held_by": lambda broker, job: broker.held_by(["w1"], 1),
    "promote": lambda broker, job: broker.promote(1),
    "cancel": lambda broker, job: broker.cancel([job.id]),
    "get": lambda broker, job: broker.get(job.id),
    "search": lambda broker, job: broker.search(),
    "counts": lambda broker, job: broker.counts(0),
    "prune": lambda broker, job: broker.prune(ENDS, job.enqueued_at, 1),
    "delete": lambda broker, job: broker.delete([job.id]),
    "beat": lambda broker, job: broker.beat([WorkerInfo("w1")]),
    "adopt": lambda broker, job: broker.adopt("production"),
    "ask": lambda broker, job: broker.ask("w1", "stack", job.id),
    "questions": lambda broker, job: broker.questions(["w1"]),
    "answer": lambda broker, job: broker.answer(job.id, "text"),
    "answer_to": lambda broker, job: broker.answer_to(job.id),
    "leave": lambda broker, job: broker.leave(["w1"]),
    "workers": lambda broker, job: broker.workers(),
    "wait_for": lambda broker, job: broker.wait_for(job.id, 0.01),
    "check": lambda broker, job: broker.check(),
}
on_one_server = pytest.mark.skipif(bool(settings.CLUSTER), reason="ends connections of one server")
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


@pytest.fixture
def unreachable(stored_broker, monkeypatch):
    """A broker whose store cannot be reached: a port that nobody serves, a directory that is not there."""
    if settings.STORE == "redis":
        stored_broker.close()
        monkeypatch.setattr(stored_broker._client, "_url", "redis://127.0.0.1:1")
        yield stored_broker
        return
    connection = connections["default"]
    away = {"PORT": "1"} if connection.settings_dict["HOST"] else {"NAME": "/nowhere/mainspring.sqlite3"}
    connection.close()
    with monkeypatch.context() as patch:
        for name, value in away.items():
            patch.setitem(connection.settings_dict, name, value)
        yield stored_broker
        connection.close()


@pytest.fixture
def without_tables(database_broker):
    """A broker whose database has not been migrated."""
    present = names("default")
    rename([(name, f"absent_{name}") for name in present])
    yield database_broker
    rename([(f"absent_{name}", name) for name in present])


def rename(pairs):
    with connections["default"].cursor() as cursor:
        for old, new in pairs:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def end_others(broker):
    """End all connections but this thread's from the server's side."""
    if settings.STORE != "redis":
        return sessions.end_others()
    own = broker._client.command("CLIENT ID")
    for client in broker._client.command("CLIENT LIST"):
        if client["id"] != str(own):
            broker._client.command("CLIENT KILL", "ID", client["id"])


def cut(broker):
    """End this thread's connection from the server's side."""
    if settings.STORE == "redis":
        for client in broker._client.command("CLIENT LIST"):
            with contextlib.suppress(BrokerUnavailable):
                broker._client.command("CLIENT KILL", "ID", client["id"], "SKIPME", "no")
        return
    connection = connections["default"]
    with connection.cursor() as cursor, contextlib.suppress(Exception):
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        elif connection.vendor == "mysql":
            cursor.execute("KILL CONNECTION_ID()")
        else:
            connection.connection.close()


@verbs
def test_unreachable(unreachable, verb):
    """Every verb says that the store is unavailable and keeps the driver's own error as the cause."""
    with pytest.raises(BrokerUnavailable) as raised:
        verb(unreachable, jobs.new(unreachable))

    assert raised.value.__cause__ is not None
    assert str(raised.value)


def test_listen_unreachable(unreachable):
    """There is nothing to listen to."""
    with pytest.raises(BrokerUnavailable):
        unreachable.listen()


@verbs
def test_not_migrated(without_tables, verb):
    """Where our tables are missing, the error tells what to do."""
    with pytest.raises(BrokerUnavailable, match=r"manage\.py migrate"):
        verb(without_tables, jobs.new(without_tables))


def test_in_order(broker):
    """A store that can be used has nothing to complain of."""
    broker.check()


@on_one_server
@verbs
def test_works_again(stored_broker, verb):
    """A connection that was lost costs at most one error: what is asked again works."""
    job = jobs.new(stored_broker)
    cut(stored_broker)

    with contextlib.suppress(BrokerUnavailable):
        stored_broker.search()

    verb(stored_broker, job)


def test_lost_at_the_end_of_a_transaction(database_broker, monkeypatch):
    """After the commit, while Django sets the connection back: it is opened again like any that was lost."""
    connection = connections["default"]
    connection.ensure_connection()
    set_autocommit = connection.set_autocommit

    def lose(autocommit, **options):
        if autocommit:
            monkeypatch.setattr(connection, "set_autocommit", set_autocommit)
            cut(database_broker)
        set_autocommit(autocommit, **options)

    monkeypatch.setattr(connection, "set_autocommit", lose)
    with pytest.raises(BrokerUnavailable):
        jobs.pushed(database_broker, 2)

    assert len(database_broker.search()) == 2


@on_one_server
@pytest.mark.skipif(settings.STORE == "sqlite", reason="SQLite has no server that could end a connection")
def test_listener_lost(stored_broker):
    """A listener whose connection was lost says so instead of falling silent."""
    with contextlib.closing(stored_broker.listen()) as listener:
        end_others(stored_broker)

        with pytest.raises(BrokerUnavailable):
            hears(listener)


@on_one_server
def test_lost_while_others_work(stored_broker):
    """A connection that one thread loses is no matter to the others."""
    jobs.pushed(stored_broker)
    cut(stored_broker)

    assert elsewhere(stored_broker, lambda: len(stored_broker.search())) == 1
    with contextlib.suppress(BrokerUnavailable):
        stored_broker.search()
    assert len(stored_broker.search()) == 1
