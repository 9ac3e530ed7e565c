"""PostgreSQL's prepared statements: made once for a connection, given up where a session does not keep them."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from django.conf import settings
from django.db import connection, connections, transaction

from mainspring.brokers.database import postgresql, prepared
from mainspring.brokers.database.listeners import own_connection
from mainspring.exceptions import BrokerRefused
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import until

pytestmark = pytest.mark.skipif(settings.STORE != "postgresql", reason="other stores have no prepared statements")
PREPARED = {
    "claim": postgresql.PREPARED_CLAIM,
    "finish": postgresql.PREPARED_FINISH,
    "finish and claim": postgresql.PREPARED_FINISH_AND_CLAIM,
}


@pytest.fixture
def broker(database_broker):
    return database_broker


@pytest.fixture(autouse=True)
def fresh(tables, monkeypatch):
    """A new connection, and nothing given up before."""
    monkeypatch.setattr(prepared, "_given_up", set())
    connection.close()
    yield
    connection.close()


@pytest.fixture
def sent():
    """What this thread sends to the database."""
    sent = []

    def record(execute, sql, params, many, context):
        sent.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        yield sent


def work(broker, number=3):
    """Claim, settle and claim, and settle jobs: each of the prepared statements once."""
    jobs.pushed(broker, 2 * number)
    first = broker.claim("w1", None, number)
    turn = broker.settle_and_claim([jobs.succeeded(broker, job) for job in first], "w1", None, number)
    assert turn.accepted == jobs.ids(first)
    assert broker.settle([jobs.succeeded(broker, job) for job in turn.claimed]) == jobs.ids(turn.claimed)
    assert len(first) == len(turn.claimed) == number


def kinds(sent):
    """How often each of the statements was prepared, executed and sent as it is."""
    plain = [statement._statement for statement in PREPARED.values()]
    return (
        sum("PREPARE " in sql for sql in sent),
        sum("EXECUTE " in sql for sql in sent),
        sum(sql in plain for sql in sent),
    )


def test_each_is_prepared_once_for_a_connection(broker, sent):
    work(broker)
    work(broker)
    assert kinds(sent) == (3, 6, 0)

    connection.close()
    work(broker)
    assert kinds(sent) == (6, 9, 0)


def test_inside_a_transaction_it_is_sent_as_it_is(broker, sent):
    """An error would end the transaction, and its settings would stay until its end."""
    with transaction.atomic():
        jobs.claimed(broker)

    assert kinds(sent) == (0, 0, 1)


def test_a_session_that_forgets_is_met_once(broker, sent):
    """As when a pooler chooses another one for each transaction."""
    work(broker)
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    work(broker)
    assert kinds(sent) == (3, 4, 3)

    work(broker)
    assert kinds(sent) == (3, 4, 6)


def test_a_session_in_which_somebody_else_has_prepared_it(broker, sent):
    """By the same name they mean the same statement."""
    work(broker)
    for statement in PREPARED.values():
        statement._known_to.clear()
    work(broker)

    assert kinds(sent) == (6, 9, 0)


def test_a_value_that_is_refused_at_the_first_time(broker, sent):
    """The statement is prepared then, though the transaction was none; the next one meets it."""
    (job,) = jobs.claimed(broker)
    with pytest.raises(BrokerRefused):
        broker.settle([jobs.succeeded(broker, job)._replace(attempts=2**63)])
    assert kinds(sent) == (2, 2, 0)

    assert broker.settle([jobs.succeeded(broker, job)]) == {job.id}
    assert kinds(sent) == (3, 4, 0)


@pytest.mark.parametrize(
    "text", ["", "null", "NULL", '"', "\\", '\\"', "{}", "{a,b}", " a ", "a\nb\t", "é\u202e😀", "'%s$1", "\x01"]
)
def test_every_text_is_stored_as_it_is(broker, text):
    """Whatever it would mean within an array."""
    first, second = jobs.claimed(broker, 2)
    outcomes = [jobs.succeeded(broker, first, text), jobs.succeeded(broker, second, None)]
    broker.settle(outcomes)

    assert [broker.get(job.id).result for job in outcomes] == [text, None]


def test_a_table_that_is_changed(broker, sent):
    """By a migration, under a worker that goes on."""
    work(broker)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mainspring_job ALTER COLUMN task_path TYPE text")
    try:
        work(broker)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE mainspring_job ALTER COLUMN task_path TYPE varchar(255)")
    assert prepared._given_up == {"default"}


@pytest.mark.parametrize("size", [0, 3, 100, 3000])
@pytest.mark.parametrize("name", PREPARED)
def test_a_plan_that_is_kept_fits_however_the_tables_grow(broker, name, size):
    """Each part of it looks one place up or walks along an index from there, whatever they hold when it is made."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE mainspring_job, mainspring_finished, mainspring_waiter")
        jobs.pushed(broker, size)
        cursor.execute("ANALYZE mainspring_job, mainspring_finished, mainspring_waiter")
    connection.close()
    work(broker, 1)

    statement = PREPARED[name]
    execute = statement._execute.rsplit("; ", 1)[1]
    types = re.search(r"\((.*?)\) AS", statement._prepare)[1].split(", ")
    parameters = ["{}" if kind.endswith("[]") else "1" for kind in types]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(prepared.PLANNED)
        cursor.execute(f"EXPLAIN {execute}", parameters)
        lines = [line.strip(" ->") for (line,) in cursor.fetchall()]

    plan = "\n".join(lines)
    for slow in ("Seq Scan", "Bitmap", "Hash Join", "Merge Join", "JIT"):
        assert slow not in plan, plan
    for line, following in pairwise(lines):
        if re.search(r"Index.* Scan .* on mainspring_job", line):
            assert following.startswith("Index Cond: "), plan
        if line.startswith("Tid Scan"):
            assert following.startswith("TID Cond: "), plan
    assert plan.count("TID Cond") == len(name.split(" and ")), plan


def test_nothing_is_compiled(broker):
    """Until PostgreSQL 17 what cannot be planned without a sort seems to be worth it: a second for each claim."""
    assert "SET LOCAL jit = off" in prepared.PLANNED


def test_the_driver_can_bind_on_the_server(broker, sent, monkeypatch):
    """Then nothing can be executed by name, and psycopg prepares as it likes."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
    work(broker)

    assert kinds(sent) == (0, 0, 3)


@pytest.mark.parametrize("verb", ["settle", "settle_and_claim"])
def test_an_outcome_that_waits_for_a_rescue_is_refused(broker, verb):
    """What it finds in the end is another run of the job, at a place that it did not look at."""
    (job,) = jobs.claimed(broker)
    outcome = [jobs.succeeded(broker, job)]
    rescue = f"UPDATE mainspring_job SET token = 7, worker_id = 'w2' WHERE id = '{job.id}'"

    assert during(rescue, lambda: settle(broker, verb, outcome)) == set()
    found = broker.get(job.id)
    assert (found.state, found.token, found.worker_id) == (State.RUNNING, 7, "w2")


def settle(broker, verb, outcomes):
    return broker.settle(outcomes) if verb == "settle" else broker.settle_and_claim(outcomes, "w1", None, 1).accepted


def during(change, function):
    """Call this in a thread, and commit what another connection has changed once it waits for that."""
    other = own_connection(connections["default"])

    def call():
        try:
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(change)
            called = pool.submit(call)
            for _ in until(lambda: is_waiting(other)):
                pass
            cursor.execute("COMMIT")
        other.close()
        return called.result()


def is_waiting(own):
    """Does somebody wait for a lock in this database?"""
    with own.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


@pytest.mark.parametrize("verb", ["settle", "settle_and_claim"])
def test_an_outcome_that_waits_for_somebody_who_changes_nothing_of_the_run_is_stored(broker, verb):
    """As when an administrator changes the priorities of all jobs, whatever their state."""
    (job,) = jobs.claimed(broker)
    outcome = [jobs.succeeded(broker, job)]

    change = f"UPDATE mainspring_job SET priority = 7 WHERE id = '{job.id}'"

    assert during(change, lambda: settle(broker, verb, outcome)) == {job.id}
    assert broker.get(job.id).state == State.SUCCEEDED
