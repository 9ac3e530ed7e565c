"""Leases: places under a name that few hold at a time, with a token that only grows."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError

from mainspring.brokers.leases import KEPT, LEASE_TIME, Lease
from mainspring.clock import SECOND
from tests import sessions
from tests.contract.brokers import new_broker
from tests.contract.clocks import FrozenClock
from tests.contract.threads import elsewhere, until
from tests.stores import only_databases

LEASE = LEASE_TIME // SECOND
only_with_a_second_connection = pytest.mark.skipif(
    settings.STORE in ("sqlite", "redis"), reason="is about databases that others can write to beside a transaction"
)
only_sqlite = pytest.mark.skipif(settings.STORE != "sqlite", reason="is about SQLite")


def taken(broker, name="a", slots=1):
    """Take a place, which must be free."""
    token = broker.take_lease(name, slots)
    assert token is not None
    return Lease(name, token)


def test_one_has_it_at_a_time(broker):
    held = taken(broker)

    assert broker.take_lease("a", 1) is None
    assert broker.drop_lease(held)
    assert broker.take_lease("a", 1) > held.token


def test_as_many_hold_a_semaphore_as_it_has_places(broker):
    held = [taken(broker, slots=3) for _ in range(3)]

    assert broker.take_lease("a", 3) is None
    assert broker.drop_lease(held[1])
    assert [broker.take_lease("a", 3) is None for _ in range(2)] == [False, True]
    assert len({lease.token for lease in held}) == 3


def test_everybody_is_judged_by_his_own_number_of_places(broker):
    taken(broker, slots=2)

    assert broker.take_lease("a", 1) is None
    taken(broker, slots=2)
    assert broker.take_lease("a", 2) is None
    taken(broker, slots=3)


def test_tokens_grow_whatever_happens_between(broker):
    """A release, an end without one, an hour in which nobody holds anything."""
    tokens = [taken(broker).token]
    broker.clock.travel(LEASE)
    tokens.append(taken(broker).token)
    for _ in range(5):
        broker.drop_lease(Lease("a", tokens[-1]))
        tokens.append(taken(broker).token)
    broker.clock.travel(3600)
    tokens.append(taken(broker).token)

    assert tokens == sorted(set(tokens))


def test_tokens_grow_when_the_clock_is_set_back(broker):
    """By less than a name is remembered."""
    held = taken(broker)
    broker.drop_lease(held)
    broker.clock.travel(-KEPT // SECOND / 2)

    assert taken(broker).token == held.token + 1


def test_what_nobody_renews_is_free_after_a_lease(broker):
    taken(broker)
    broker.clock.travel(LEASE - 5)
    assert broker.take_lease("a", 1) is None

    broker.clock.travel(5)
    taken(broker)


def test_what_is_renewed_is_held_on(broker):
    held = taken(broker)
    for _ in range(4):
        broker.clock.travel(LEASE - 5)
        assert broker.renew_leases([held]) == {held}

    assert broker.take_lease("a", 1) is None
    broker.clock.travel(LEASE)
    taken(broker)


def test_a_renewal_that_comes_too_late_is_refused(broker):
    late = taken(broker)
    broker.clock.travel(LEASE)
    held = taken(broker)

    assert broker.renew_leases([late, held]) == {held}
    assert not broker.drop_lease(late)
    assert broker.take_lease("a", 1) is None, "who is late has given nothing back that another holds"
    assert broker.drop_lease(held)


def test_of_a_semaphore_too_whoever_was_late_is_refused_once_another_has_come(broker):
    """There would be two holders too many: one place was free, and two were over."""
    late = [taken(broker, slots=3), taken(broker, slots=3)]
    broker.clock.travel(LEASE)
    held = [taken(broker, slots=3) for _ in range(3)]

    assert broker.renew_leases([*late, *held]) == set(held)


def test_a_late_renewal_is_in_time_while_nobody_else_has_come(broker):
    """Nobody can have held it meanwhile."""
    held = taken(broker)
    broker.clock.travel(2 * LEASE)

    assert broker.renew_leases([held]) == {held}
    assert broker.take_lease("a", 1) is None


def test_what_is_given_back_is_not_renewed_nor_given_back_again(broker):
    held = taken(broker)
    broker.drop_lease(held)

    assert broker.renew_leases([held]) == set()
    assert not broker.drop_lease(held)
    assert broker.renew_leases([]) == set()


def test_very_many_are_renewed_together(broker):
    held = [taken(broker, f"{number % 3} {number // 30}", 30) for number in range(450)]
    gone = held[::7]
    for lease in gone:
        broker.drop_lease(lease)
    broker.clock.travel(LEASE - 5)

    assert broker.renew_leases(held) == set(held) - set(gone)
    broker.clock.travel(LEASE - 5)
    assert broker.take_lease("1 0", 1) is None


def test_every_name_is_another(broker):
    """Those of 200 characters too, and whatever stands in them."""
    names = [
        "a",
        "A",
        "a ",
        " a",
        "ä",
        "a:1",
        "1:2 3:4",
        "%s",
        "'",
        '"',
        "\\",
        "a\n",
        "😀" * 199 + "a",
        "😀" * 199 + "b",
    ]
    held = [taken(broker, name) for name in names]

    assert [broker.take_lease(name, 1) for name in names] == [None] * len(names)
    assert broker.renew_leases(held) == set(held)
    assert all(broker.drop_lease(lease) for lease in held)


def test_a_name_that_nobody_has_used_for_long_is_forgotten(broker):
    """Not one that is held, or was used lately; and tokens grow all the same."""
    before = taken(broker, "for one job")
    broker.drop_lease(before)
    taken(broker, "crashed")
    broker.clock.travel(KEPT / SECOND + 60)
    held = taken(broker, "held")
    broker.clock.travel(KEPT / SECOND + 60)
    broker.renew_leases([held])
    late = taken(broker, "new")

    assert remembered(broker) == {"held", "new"}
    assert broker.renew_leases([held, late]) == {held, late}
    assert taken(broker, "for one job").token > before.token


def remembered(broker):
    """The names whose last token the store knows."""
    if hasattr(broker, "_leases"):
        return set(broker._leases._last)
    if settings.STORE == "redis":
        return {name.decode() for name in broker._client.command("ZRANGE", broker._keys.fences, 0, -1)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM mainspring_fence")
        return {name for (name,) in cursor.fetchall()}


def test_a_client_s_own_clock_does_not_matter(stored_broker, monkeypatch):
    """Neither the system's, nor the one that a broker keeps."""
    held = taken(stored_broker)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    stored_broker.clock.sync(0)

    assert stored_broker.take_lease("a", 1) is None
    assert stored_broker.renew_leases([held]) == {held}
    stored_broker.drop_lease(held)
    assert held.token < taken(stored_broker).token < held.token + 3600 * SECOND


def waited_for(broker, slots):
    """Take a place as soon as there is one."""
    tokens = [None]
    for _ in until(lambda: tokens[-1] is not None):
        tokens.append(broker.take_lease("a", slots))
    return Lease("a", tokens[-1])


@pytest.mark.parametrize("slots", [1, 3])
def test_however_many_race_there_are_never_too_many(broker, slots):
    """And each has a token of its own, in the order in which they got in."""
    inside, numbers, tokens, guard = set(), [], [], threading.Lock()

    def work(_):
        try:
            for _ in range(10):
                held = waited_for(broker, slots)
                with guard:
                    inside.add(held)
                    numbers.append(len(inside))
                    tokens.append(held.token)
                with guard:
                    inside.remove(held)
                assert broker.drop_lease(held)
        finally:
            broker.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert max(numbers) <= slots
    assert len(set(tokens)) == 40
    assert slots > 1 or tokens == sorted(tokens)


# In transactions.


@only_with_a_second_connection
def test_a_lease_is_no_part_of_the_caller_s_transaction(database_broker):
    """Others see it at once, and it outlives a rollback."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        first, second = taken(database_broker, "a"), taken(database_broker, "b")
        assert elsewhere(database_broker, lambda: database_broker.take_lease("a", 1)) is None
        database_broker.drop_lease(second)
        third = elsewhere(database_broker, lambda: taken(database_broker, "b"))
        raise ZeroDivisionError

    assert database_broker.take_lease("a", 1) is None
    assert database_broker.renew_leases([first, second, third]) == {first, third}


@only_with_a_second_connection
def test_a_transaction_that_is_broken_or_begun_by_hand_is_no_matter(database_broker):
    """Nor does a broker end it, or leave a connection behind."""
    before = len(sessions.others())
    with pytest.raises(IntegrityError), transaction.atomic():
        held = taken(database_broker)
        with connection.cursor() as cursor:
            insert = "INSERT INTO mainspring_installation (id, name, adopted_at) VALUES (1, 'x', 0)"
            cursor.execute(insert)
            try:
                cursor.execute(insert)
            finally:
                assert database_broker.renew_leases([held]) == {held}
                assert database_broker.drop_lease(held)
    transaction.set_autocommit(False)
    try:
        database_broker.adopt("here")
        held = taken(database_broker)
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)

    assert database_broker.drop_lease(held)
    assert database_broker.beat([]).site is None
    for _ in until(lambda: len(sessions.others()) <= before):
        pass


@only_sqlite
def test_in_a_transaction_on_sqlite_nothing_can_be_taken(database_broker):
    """It is said at once. What was taken before can be given back."""
    held = taken(database_broker)
    with transaction.atomic():
        with pytest.raises(TransactionManagementError, match="Take the lock first"):
            database_broker.take_lease("b", 1)
        assert database_broker.drop_lease(held)

    taken(database_broker)


@only_sqlite
def test_while_another_writes_nothing_is_taken(database_broker, monkeypatch):
    """Whoever waits for a lock whose holder writes for long gets no error."""
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], "timeout": 0.01})
    connection.close()
    other = connection.copy()
    other.inc_thread_sharing()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
        assert database_broker.take_lease("a", 1) is None
        with other.cursor() as cursor:
            cursor.execute("ROLLBACK")
        taken(database_broker)
    finally:
        other.close()


@only_databases
def test_in_a_test_case_a_lease_can_be_taken_whatever_the_database(db):
    """Its transaction is there only to be rolled back; one that the tested code begins is another matter."""
    broker = new_broker(FrozenClock())
    broker.adopt("here")  # something that is written
    held = taken(broker)

    assert broker.take_lease("a", 1) is None
    assert broker.renew_leases([held]) == {held}
    if settings.STORE == "sqlite":
        with transaction.atomic(), pytest.raises(TransactionManagementError):
            broker.take_lease("b", 1)
    assert broker.drop_lease(held)


@only_with_a_second_connection
def test_nobody_waits_for_one_who_was_suspended_while_he_took_a_place(database_broker):
    """Others can take one under another name, and under this as soon as he goes on or is gone."""
    database_broker.drop_lease(taken(database_broker))
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT token FROM mainspring_fence WHERE name = 'a' FOR UPDATE")
        assert elsewhere(database_broker, lambda: database_broker.take_lease("a", 1)) is None
        elsewhere(database_broker, lambda: taken(database_broker, "b"))

    taken(database_broker)
