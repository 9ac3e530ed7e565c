"""Jobs enqueued in every kind of transaction that Django knows: they exist if and only if it commits."""

from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pytest
from django.conf import settings
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

import mainspring
from mainspring import job as machine
from mainspring import outbox
from mainspring.brokers.database import errors
from mainspring.compat import task_backends
from mainspring.exceptions import BrokerRefused
from mainspring.testing import drain, travel
from tests.app import tasks
from tests.app.models import Note


class Way(NamedTuple):
    """How a job reaches its store: the alias of the backend, and of the database whose transaction decides."""

    backend: str
    database: str

    @property
    def broker(self):
        return task_backends[self.backend].broker

    @property
    def task(self):
        return tasks.add.using(backend=self.backend)

    def atomic(self, **options):
        return transaction.atomic(using=self.database, **options)

    def on_commit(self, hook, **options):
        transaction.on_commit(hook, using=self.database, **options)

    def has(self, result):
        return self.broker.get(result.id) is not None


WAYS = {
    "own database": Way("default", "default"),
    "outbox": Way("default", "other"),
    "memory": Way("memory", "default"),
}
# Where the job is a row of the caller's transaction, in one table or the other, no hook can lose it.
SURE = {name: WAYS[name] for name in ("own database", "outbox")}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request, transactional_db):
    outbox._left_alone.clear()
    yield request.param
    task_backends["memory"].clear()


sure_ways = pytest.mark.parametrize("way", SURE.values(), ids=SURE, indirect=True)
databases = pytest.mark.django_db(transaction=True, databases=["default", "other"])
pytestmark = databases


def undo():
    """End a block by an error that `undone` expects."""
    raise KeyError


undone = partial(pytest.raises, KeyError)


def test_an_inner_commit_is_undone_with_the_outer_block(way):
    """The release of a savepoint commits nothing."""
    with undone(), way.atomic():
        with way.atomic():
            result = way.task.enqueue(1, 2)
        undo()

    assert not way.has(result)
    assert drain(way.backend) == 0


def test_each_savepoint_decides_about_its_own(way):
    """However deep they are nested."""
    with way.atomic():
        first = way.task.enqueue(1, 1)
        with undone(), way.atomic():
            second = way.task.enqueue(2, 2)
            with way.atomic():
                third = way.task.enqueue(3, 3)
            undo()
        with way.atomic():
            fourth = way.task.enqueue(4, 4)

    assert [way.has(result) for result in (first, second, third, fourth)] == [True, False, False, True]


def test_a_block_without_a_savepoint_is_undone_with_the_outer_one(way):
    """Django then rolls everything back at the end of the outer block."""
    with undone(), way.atomic():
        first = way.task.enqueue(1, 1)
        with way.atomic(savepoint=False):
            second = way.task.enqueue(2, 2)
            undo()

    assert not way.has(first)
    assert not way.has(second)


def test_a_durable_block_keeps_one_job_and_many(way):
    """Nothing in an enqueue needs a block of its own around it."""
    with way.atomic(durable=True):
        results = [way.task.enqueue(1, 1), *mainspring.enqueue_many(way.task, [(2, 2), (3, 3)])]

    assert all(map(way.has, results))


def test_after_an_error_that_a_savepoint_has_undone(way):
    """A database that refuses a statement does not take along what comes after it."""
    with way.atomic():
        with pytest.raises(DatabaseError), way.atomic():
            break_the_transaction(way)
        result = way.task.enqueue(1, 2)

    assert way.has(result)


@sure_ways
def test_in_a_block_that_can_only_be_undone(way):
    """The enqueue says so instead of storing what will not commit."""
    with pytest.raises(TransactionManagementError), way.atomic():
        with undone(), way.atomic(savepoint=False):
            undo()
        way.task.enqueue(1, 2)

    assert way.broker.search() == []


def break_the_transaction(way):
    with connections[way.database].cursor() as cursor:
        cursor.execute("SELECT nonsense FROM nowhere")


# Hooks.


@sure_ways
def test_a_hook_that_raises_before_ours_loses_no_job(way):
    """Django calls no later hook; a worker's sweep sends what waits in the outbox."""
    with undone(), way.atomic():
        way.on_commit(undo)
        result = way.task.enqueue(1, 2)
    with travel(10):
        outbox.sweep(way.broker)

    assert way.has(result)


def test_a_hook_that_raises_after_ours_loses_no_job(way):
    """Ours has been called."""
    with undone(), way.atomic():
        result = way.task.enqueue(1, 2)
        way.on_commit(undo)

    assert way.has(result)


def test_a_robust_hook_that_raises_loses_no_job(way):
    """Django logs its error and goes on to ours."""
    with way.atomic():
        way.on_commit(undo, robust=True)
        result = way.task.enqueue(1, 2)

    assert way.has(result)


def test_a_hook_may_enqueue(way):
    """The transaction is over by then, so the job is stored at once, whatever hook comes next."""
    results = []
    with undone(), way.atomic():
        way.on_commit(lambda: results.append(way.task.enqueue(1, 2)))
        way.on_commit(undo)

    assert [way.has(result) for result in results] == [True]


def test_a_hook_may_enqueue_in_a_block_of_its_own(way):
    """That block decides."""
    results = []

    def enqueue_twice():
        with way.atomic():
            results.append(way.task.enqueue(1, 1))
        with undone(), way.atomic():
            results.append(way.task.enqueue(2, 2))
            undo()

    with way.atomic():
        way.on_commit(enqueue_twice)

    assert [way.has(result) for result in results] == [True, False]


# Several databases.


def test_the_own_database_decides_wherever_its_block_stands():
    """A block of another database around it, or in it, changes nothing: the job is a row of its own database."""
    with undone(), transaction.atomic(using="other"):
        with transaction.atomic():
            kept = tasks.noop.enqueue()
        undo()
    with undone(), transaction.atomic():
        with transaction.atomic(using="other"):
            lost = tasks.noop.enqueue()
        undo()

    own = WAYS["own database"]
    assert (own.has(kept), own.has(lost)) == (True, False)
    assert outbox_rows() == 0


def test_the_default_database_decides_for_a_store_outside_of_both():
    """One of two open transactions has to; the inner one's commit is not enough."""
    memory = WAYS["memory"]
    with undone(), transaction.atomic():
        with transaction.atomic(using="other"):
            lost = memory.task.enqueue(1, 1)
        undo()
    with undone(), transaction.atomic(using="other"):
        with transaction.atomic():
            kept = memory.task.enqueue(2, 2)
        undo()

    assert (memory.has(kept), memory.has(lost)) == (True, False)
    task_backends["memory"].clear()


def test_a_row_of_the_outbox_goes_with_its_own_transaction():
    """A commit of the job's own database before or in between does not send it."""
    outbox_way = WAYS["outbox"]
    with undone(), outbox_way.atomic():
        lost = tasks.noop.enqueue()
        with transaction.atomic():
            kept = tasks.noop.enqueue()
        undo()

    assert (outbox_way.has(kept), outbox_way.has(lost)) == (True, False)
    assert outbox_rows() == 0


def outbox_rows():
    with connections["other"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM mainspring_outbox")
        return cursor.fetchone()[0]


# Transactions by hand.


@contextmanager
def by_hand(database):
    transaction.set_autocommit(False, using=database)
    try:
        yield
    finally:
        transaction.rollback(using=database)
        transaction.set_autocommit(True, using=database)


@sure_ways
@pytest.mark.parametrize("number", [1, 3])
def test_without_autocommit_the_commit_decides(way, number):
    """One job and many, after other statements of the same transaction."""
    with by_hand(way.database):
        Note.objects.using(way.database).create(text="first")
        lost = mainspring.enqueue_many(way.task, [(1, 1)] * number)
        transaction.rollback(using=way.database)
        Note.objects.using(way.database).create(text="second")
        kept = mainspring.enqueue_many(way.task, [(2, 2)] * number)
        transaction.commit(using=way.database)
    with travel(10):
        outbox.sweep(way.broker)

    assert [way.has(result) for result in lost] == [False] * number
    assert [way.has(result) for result in kept] == [True] * number
    assert drain() == number


@sure_ways
def test_many_jobs_that_begin_a_transaction_by_hand(way):
    """They are stored in a savepoint, whose end must not be the end of the transaction."""
    with by_hand(way.database):
        lost = mainspring.enqueue_many(way.task, [(1, 1)] * 3)
        transaction.rollback(using=way.database)

    assert [way.has(result) for result in lost] == [False] * 3
    assert outbox_rows() == 0


@pytest.mark.skipif(settings.DATABASE == "sqlite", reason="it knows one isolation only")
@sure_ways
def test_many_jobs_in_a_transaction_by_hand_that_is_not_read_committed(way, monkeypatch):
    """Their savepoint takes the isolation of the transaction as it is."""
    with by_hand(way.database):
        choose_isolation(connections[way.database], monkeypatch)
        Note.objects.using(way.database).create(text="first")
        kept = mainspring.enqueue_many(way.task, [(1, 1)] * 3)
        transaction.commit(using=way.database)
    with travel(10):
        outbox.sweep(way.broker)

    assert [way.has(result) for result in kept] == [True] * 3


@pytest.mark.skipif(settings.DATABASE == "sqlite", reason="it knows one isolation only")
def test_a_job_is_cancelled_in_a_transaction_by_hand_that_is_not_read_committed(monkeypatch):
    """Its isolation is settled, and PostgreSQL refuses every change of it after the first statement."""
    result, broker = tasks.add.enqueue(1, 1), task_backends["default"].broker
    with by_hand("default"):
        choose_isolation(connections["default"], monkeypatch)
        Note.objects.create(text="first")
        [cancelled] = broker.cancel([result.id])
        transaction.commit()

    assert broker.get(result.id) == cancelled


def choose_isolation(connection, monkeypatch):
    """Begin a transaction at REPEATABLE READ, and have Django know of it."""
    connection.ensure_connection()
    level = "repeatable read"
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        level = IsolationLevel.REPEATABLE_READ
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    monkeypatch.setattr(connection, "isolation_level", level)


only_postgresql = pytest.mark.skipif(settings.DATABASE != "postgresql", reason="the others do nothing like it")


@only_postgresql
def test_our_own_transactions_see_what_others_have_committed_meanwhile():
    """A project that works at REPEATABLE READ would else send a job twice from its outbox, or miss its end."""
    connection, store = connections["default"], task_backends["default"].broker._store
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with store.transaction(connection):
            cursor.execute("SHOW transaction_isolation")
            [isolation] = cursor.fetchone()
    connection.close()

    assert isolation == "read committed"


@only_postgresql
def test_the_call_for_a_worker_leaves_a_commit_by_hand_as_safe_as_it_was():
    """The call itself need not be on the disk, but it is made in the caller's transaction."""
    with by_hand("default"), connections["default"].cursor() as cursor:
        tasks.noop.enqueue()
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)


@only_postgresql
def test_a_refused_job_leaves_a_transaction_by_hand_to_its_owner():
    """Its connection is not closed: what came next would be committed at once, on a new one."""
    impossible = machine.new_job(task_path="a.b", arguments="", queue_name="default", priority=2**40, at=1)
    with by_hand("default"):
        Note.objects.create(text="first")
        raw = connections["default"].connection
        with pytest.raises(BrokerRefused):
            WAYS["own database"].broker.push([impossible])
        assert connections["default"].connection is raw


def test_a_deadlock_in_a_transaction_by_hand_is_its_owners_to_repeat():
    """Its other statements are gone; to repeat ours alone would commit a part of it."""
    tries = []

    def lose(connection):
        tries.append(connection)
        raise OperationalError(1213, "Deadlock found when trying to get lock")

    with by_hand("default"), pytest.raises(mainspring.BrokerUnavailable, match="Deadlock"):
        errors.run(connections["default"], lose)
    assert len(tries) == 1


@sure_ways
@pytest.mark.skipif(settings.DATABASE == "sqlite", reason="Django's savepoints commit there")
def test_a_block_inside_a_transaction_by_hand_commits_nothing(way):
    """Django makes it a savepoint."""
    with by_hand(way.database):
        with way.atomic():
            lost = way.task.enqueue(1, 1)
        transaction.rollback(using=way.database)
        with way.atomic():
            kept = way.task.enqueue(2, 2)
        transaction.commit(using=way.database)
    with travel(10):
        outbox.sweep(way.broker)

    assert (way.has(kept), way.has(lost)) == (True, False)


# Requests.


def enqueue_and(answer, request, backend):
    tasks.add.using(backend=backend).enqueue(1, 2)
    return answer()


def fail():
    raise ValueError


def roll_back():
    """Answer as a framework does that turns errors into responses."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            transaction.set_rollback(True, using=connection.alias)
    return HttpResponse(status=400)


urlpatterns = [
    path("good/<backend>", partial(enqueue_and, HttpResponse)),
    path("bad/<backend>", partial(enqueue_and, fail)),
    path("rolled-back/<backend>", partial(enqueue_and, roll_back)),
]


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize(("view", "number"), [("good", 1), ("bad", 0), ("rolled-back", 0)])
def test_the_transaction_of_a_request_decides(way, monkeypatch, view, number):
    """With ATOMIC_REQUESTS a view that raises has enqueued nothing."""
    monkeypatch.setitem(connections[way.database].settings_dict, "ATOMIC_REQUESTS", True)
    Client(raise_request_exception=False).get(f"/{view}/{way.backend}")

    assert len(way.broker.search()) == number
    assert outbox_rows() == 0
