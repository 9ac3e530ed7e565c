"""Tasks with limits as their callers see them."""

import pytest

import mainspring
from mainspring import Limit
from mainspring.compat import InvalidTask
from mainspring.exceptions import InvalidArguments
from mainspring.testing import travel
from tests.app import tasks


def test_a_rate_holds_for_all_that_share_its_name(on, run):
    results = [on(tasks.charge).enqueue(number) for number in range(5)]

    assert run() == 2
    for result in results:
        result.refresh()
    assert [result.state for result in results] == ["succeeded"] * 2 + ["parked"] * 3
    with travel(31, backend=results[0].backend):
        assert run() == 1
    with travel("2m", backend=results[0].backend):
        assert run() == 2


def test_a_parked_job_is_ready_for_django(on, run):
    results = [on(tasks.charge).enqueue(number) for number in range(3)]
    run()
    results[-1].refresh()

    assert results[-1].status == "READY"
    assert (results[-1].attempts, results[-1].errors) == (0, [])


def test_an_option_that_is_no_limit():
    with pytest.raises(InvalidTask, match="limits: expected a Limit or a list of them, got 'stripe'"):
        mainspring.Task(func=tasks.charge.func, limits="stripe")


def test_arguments_that_make_no_name(on):
    task = mainspring.Task(func=tasks.charge.func, limits=Limit("a:{tenant}", concurrency=1))

    with pytest.raises(InvalidArguments, match=r"tasks.charge: limit 'a:\{tenant\}' cannot be applied: KeyError"):
        on(task).enqueue(1)
