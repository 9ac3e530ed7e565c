"""listen and wake: a worker that has nothing to do hears when there is work."""

import contextlib
import select
import time

import pytest
from django.db import transaction

from mainspring import job as machine
from tests.contract import jobs
from tests.contract.threads import elsewhere, together

LONG = 30  # seconds; only a test that fails waits as long


@pytest.fixture
def listen():
    """Return a function that returns a listener which has fallen silent."""
    with contextlib.ExitStack() as stack:

        def listen(broker):
            listener = stack.enter_context(contextlib.closing(broker.listen()))
            quiet(listener)
            return listener

        yield listen


@pytest.fixture
def listener(broker, listen):
    return listen(broker)


def hears(*listeners, within=LONG):
    """Wait for news as a worker does: on the file of a listener that has one, else by asking again."""
    deadline = time.monotonic() + within
    files = [listener.fileno() for listener in listeners if listener.fileno() is not None]
    while not any(listener.has_news() for listener in listeners):
        left = deadline - time.monotonic()
        if left < 0:
            return False
        select.select(files, [], [], min(left, *[listener.interval for listener in listeners]))
    return True


def quiet(*listeners):
    """
    Take in what comes until nothing has come for a moment.

    A broker may hold a wake-up back that follows another at once, and let its listeners look once more instead. After
    this moment only what happens next can be heard.
    """
    while hears(*listeners, within=0.05):
        pass


def test_pushed(broker, listener):
    """A listener hears of a job that somebody else pushes."""
    elsewhere(broker, lambda: jobs.pushed(broker))

    assert hears(listener)
    assert broker.claim("w1", None, 1)


def test_again_and_again(broker, listener):
    """After it has heard once it hears the next time too."""
    for _ in range(3):
        elsewhere(broker, lambda: jobs.pushed(broker))
        assert hears(listener)
        quiet(listener)


def test_in_quick_succession(broker, listener):
    """Of jobs that come close upon another none goes unheard: there is always a last look after the last push."""
    for _ in range(20):
        elsewhere(broker, lambda: jobs.pushed(broker))
        assert hears(listener)
        assert len(broker.claim("w1", None, 10)) == 1


def test_while_it_waits(broker, listener):
    """A listener that waits already is woken."""
    heard, _ = together(broker, lambda: hears(listener), lambda: jobs.pushed(broker))

    assert heard


@pytest.mark.parametrize("way", [machine.release, machine.interrupt])
def test_put_back(broker, way, listen):
    """A listener hears of a job that a worker gives back."""
    (job,) = jobs.claimed(broker)
    listener = listen(broker)

    elsewhere(broker, lambda: broker.settle([way(job)]))

    assert hears(listener)


def test_rescued(broker, listen):
    """A listener hears of a job that was taken back from a dead worker."""
    jobs.claimed(broker)
    listener = listen(broker)

    elsewhere(broker, lambda: broker.rescue(["w1"], max_crashes=3))

    assert hears(listener)


def test_fallen_due(broker, listen):
    """A listener hears of a job that somebody promotes."""
    jobs.pushed(broker, run_after=broker.clock.moment() + 3_600_000_000)
    listener = listen(broker)
    broker.clock.travel(4_000)

    elsewhere(broker, lambda: broker.promote(10))

    assert hears(listener)


def test_several_listeners(broker, listen):
    """Where several workers listen, at least one hears."""
    listeners = [listen(broker) for _ in range(3)]

    elsewhere(broker, lambda: jobs.pushed(broker))

    assert hears(*listeners)


def test_asking_never_blocks(broker, listener):
    """To ask for news returns at once whether there are some or not, as often as it is asked."""
    for _ in range(50):
        listener.has_news()

    elsewhere(broker, lambda: jobs.pushed(broker))
    assert hears(listener)


def test_wake_without_listeners(broker):
    """To wake nobody is harmless."""
    broker.wake()

    broker.listen().close()
    broker.wake()


def test_closed(broker):
    """A listener that was closed is no longer woken, and closing twice is harmless."""
    listener = broker.listen()
    listener.close()
    listener.close()

    jobs.pushed(broker)
    broker.wake()


def test_put_back_in_a_transaction(database_broker, listen):
    """What goes back in a transaction is heard of after its commit."""
    (job,) = jobs.claimed(database_broker)
    listener = listen(database_broker)

    with transaction.atomic():
        database_broker.settle([machine.release(job)])

    assert hears(listener)


def test_does_not_hold_the_store(broker, listener):
    """A listener does not stand in the way of pushes, claims and ends."""
    jobs.finished(broker, 3)
    listener.has_news()
    jobs.finished(broker, 3)

    assert len(broker.search()) == 6


def test_after_the_commit(database_broker, listen):
    """What is pushed in a transaction is heard of once it can be seen."""
    listener = listen(database_broker)
    with transaction.atomic():
        (job,) = jobs.pushed(database_broker)
        quiet(listener)

    assert hears(listener)
    assert elsewhere(database_broker, lambda: database_broker.claim("w1", None, 1)[0].id) == job.id
