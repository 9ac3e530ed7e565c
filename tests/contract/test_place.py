"""ahead, head and is_hidden: where a job stands, for whoever asks why it does not run."""

import pytest
from django.db import transaction

from tests.contract import jobs
from tests.contract.test_orders import admitted, ordered


def test_who_stands_ahead(broker):
    """Those of a higher priority, and the older ones of the same; of the same queue, whatever their task."""
    last, *_ = jobs.pushed(broker, priority=-5)
    pushed = jobs.pushed(broker, 3)
    urgent = jobs.pushed(broker, priority=5, task_path="app.tasks.other")
    jobs.pushed(broker, 4, queue_name="mail", priority=9)

    assert [broker.ahead(job, 100) for job in [*urgent, *pushed, last]] == [0, 1, 2, 3, 4]


def test_no_more_are_counted_than_asked_for(broker):
    *_, last = jobs.pushed(broker, 10)

    assert [broker.ahead(last, limit) for limit in (1, 4, 9, 100)] == [1, 4, 9, 9]


def test_only_the_ready_are_ahead(broker):
    """Not those that run, wait for their time or have ended."""
    jobs.finished(broker)
    jobs.claimed(broker)
    jobs.pushed(broker, run_after=broker.clock.moment() + 1_000_000)
    first, second = jobs.pushed(broker, 2)

    assert (broker.ahead(first, 100), broker.ahead(second, 100)) == (0, 1)


def test_those_that_crashed_have_a_line_of_their_own(broker):
    """Their line and that of the others do not count for each other."""
    first, second = jobs.crashed(broker, 2)
    *_, last = jobs.pushed(broker, 3)

    assert [broker.ahead(job, 100) for job in (first, second, last)] == [0, 1, 2]


def test_a_job_in_no_line(broker):
    jobs.pushed(broker, 2)
    (deferred,) = jobs.pushed(broker, run_after=broker.clock.moment() + 1_000_000)

    assert broker.ahead(deferred, 100) == 0


def test_whose_turn_it_is(broker):
    """The first keeps its turn while it runs; its end passes it on."""
    first, second = ordered(broker, 2)
    others = ordered(broker, 1, "b")
    assert broker.head("key:a") is None  # nobody has looked
    running = {job.id: job for job in admitted(broker)}

    assert (broker.head("key:a"), broker.head("key:b")) == (first.id, others[0].id)
    broker.settle([jobs.succeeded(broker, running[first.id])])
    assert broker.head("key:a") == second.id
    broker.cancel([second.id])
    assert broker.head("key:a") is None


@pytest.mark.parametrize("key", ["", "key:", "key:aa", "x" * 300, "Ünï🚀"])
def test_an_order_that_nobody_is_in(broker, key):
    ordered(broker, 2)
    admitted(broker)

    assert broker.head(key) is None


def test_a_key_of_any_letters(broker):
    first, _ = ordered(broker, 2, "Ünï 🚀")
    admitted(broker)

    assert broker.head("key:Ünï 🚀") == first.id


def test_to_look_gives_no_turns(broker):
    """One that came later, and was seen, does not fall behind because somebody asked."""
    late = jobs.new(broker, order_key="key:a", blocks="")
    first, *_ = ordered(broker)
    broker.head("key:a")
    broker.push([late])

    assert [job.id for job in admitted(broker)] == [late.id]
    assert broker.head("key:a") == late.id != first.id


def test_a_job_of_an_open_transaction_is_hidden(stored_broker):
    """Where it is a part of the caller's transaction; what was committed before is not."""
    (before,) = jobs.pushed(stored_broker)
    with transaction.atomic():
        (job,) = jobs.pushed(stored_broker)
        assert stored_broker.is_hidden(job.id) is stored_broker.is_transactional
        assert not stored_broker.is_hidden(before.id)

    assert not stored_broker.is_hidden(job.id)
