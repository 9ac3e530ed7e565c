"""Ordered tasks as their callers see them."""

import pytest
from django.db import transaction

import mainspring
from mainspring.compat import InvalidTask
from mainspring.testing import travel
from tests.app import tasks


def states(results):
    for result in results:
        result.refresh()
    return [result.state for result in results]


def test_jobs_with_one_key_run_in_order(on, run):
    results = [on(tasks.ship).enqueue(7, step=step) for step in range(4)]
    others = [on(tasks.ship).enqueue(8), on(tasks.add).enqueue(1, 2)]

    assert run() == 6
    assert states(results + others) == ["succeeded"] * 6
    starts = [result.started_at for result in results]
    assert starts == sorted(starts)


def test_many_at_once_run_in_the_order_given(on, run):
    results = mainspring.enqueue_many(on(tasks.ship), [{"order_id": 7, "step": step} for step in range(20)])

    assert run() == 20
    for result in results:
        result.refresh()
    finished = [result.finished_at for result in results]
    assert finished == sorted(finished)


def test_one_that_steps_aside_lets_others_run(on, run):
    first, second = on(tasks.ship_or_fail).enqueue(-2), on(tasks.ship_or_fail).enqueue(2)

    run()
    assert states([first, second]) == ["deferred", "succeeded"]
    with travel("2m", backend=first.backend):
        assert run() == 1


def test_a_rolled_back_enqueue_leaves_no_gap(on, run):
    first = on(tasks.ship).enqueue(7)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        on(tasks.ship).enqueue(7)
        raise ZeroDivisionError
    last = on(tasks.ship).enqueue(7)

    assert run() == 2
    assert states([first, last]) == ["succeeded"] * 2


@pytest.mark.parametrize("options", [{"ordered": True}, {"key": "a"}])
def test_one_without_the_other(options):
    with pytest.raises(InvalidTask, match="ship, key and ordered go together"):
        mainspring.Task(func=tasks.ship.func, **options)


def test_a_key_with_a_name_that_is_no_argument():
    with pytest.raises(InvalidTask, match="key: the function has no argument 'order'; did you mean 'order_id'"):
        mainspring.Task(func=tasks.ship.func, key="order:{order}", ordered=True)
