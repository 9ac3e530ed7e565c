"""Fair tasks as their callers see them."""

import pytest

import mainspring
from mainspring.compat import InvalidTask
from tests.app import tasks


def test_tenants_take_turns(on, run):
    many = [on(tasks.report).enqueue("large", page) for page in range(10)]
    few = [on(tasks.report).enqueue("small", page) for page in range(2)]

    assert run() == 12
    for result in many + few:
        result.refresh()
    before_few = sum(result.finished_at < few[-1].finished_at for result in many)
    assert before_few <= 3


def test_a_job_that_waits_for_its_rank_is_ready_for_django(on):
    result = on(tasks.report).enqueue("large", 1)
    assert (result.status, result.state) == ("READY", "parked")


def test_an_argument_that_there_is_not():
    with pytest.raises(InvalidTask, match="fair_by: the function has no argument 'tenants'; did you mean 'tenant'"):
        mainspring.Task(func=tasks.report.func, fair_by="tenants")
