"""Tasks with limits as their callers see them."""

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

import pytest
from asgiref.sync import async_to_sync

import mainspring
from mainspring import Limit
from mainspring.backends import MainspringBackend
from mainspring.compat import InvalidTask
from mainspring.conf import options_for
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


@pytest.fixture
def _asked():
    tasks.asked.clear()
    yield
    tasks.asked.clear()


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("delay", [60, "60", "1m", timedelta(minutes=1)])
def test_who_is_told_to_come_back_later_does_and_others_wait_too(on, run, delay):
    result, other = on(tasks.call_api).enqueue(to_json(delay)), on(tasks.call_api).enqueue(0)

    assert run() >= 1
    result.refresh()
    other.refresh()
    assert (result.state, result.attempts, result.errors) == ("deferred", 0, [])
    assert (other.state, other.attempts) == ("parked", 0)
    with travel("30s", backend=result.backend):
        assert run() == 0
    with travel("2m", backend=result.backend):
        assert run() == 2
    result.refresh()
    assert (result.status, result.attempts) == ("SUCCESSFUL", 1)


def to_json(delay):
    return delay.total_seconds() if isinstance(delay, timedelta) else delay


@pytest.mark.usefixtures("_asked")
def test_a_named_limit_is_paused_instead(on, run, backend):
    on(tasks.call_api).enqueue(60, limit="elsewhere")
    run()

    assert mainspring.limit("elsewhere", backend.alias).status().paused_until is not None
    assert mainspring.limit("api", backend.alias).status().paused_until is None


@pytest.mark.usefixtures("_asked")
def test_what_is_no_time_fails_the_job(on, run):
    result = on(tasks.call_api).enqueue("soon")
    run()
    result.refresh()

    assert result.status == "FAILED"
    assert "expected seconds, a timedelta or a text" in result.errors[0].traceback


def test_a_job_can_pause_a_limit(on, run, backend):
    on(tasks.pause_the_api).enqueue()
    run()
    waits = on(tasks.call_api).enqueue(0)

    assert run() == 0
    mainspring.limit("api", backend.alias).resume()
    assert run() == 1
    waits.refresh()
    assert waits.status == "SUCCESSFUL"


def test_a_limit_is_changed_and_reset(on, run, backend):
    limit = mainspring.limit("all", backend.alias)
    limit.change(rate="1/h")
    for number in range(3):
        on(tasks.charge).enqueue(number)

    assert run() == 1
    status = limit.status()
    assert (status.rate, status.is_given, status.parked, status.held) == ("1/3600s", True, 2, 0)
    limit.change()
    assert run() == 2
    limit.reset()
    assert not limit.status().is_given


def test_a_limit_has_async_twins(backend):
    limit = mainspring.limit("all", backend.alias)
    async_to_sync(limit.apause)("1m")
    assert async_to_sync(limit.astatus)().paused_until is not None
    async_to_sync(limit.aresume)()
    async_to_sync(limit.achange)(concurrency=0)
    assert async_to_sync(limit.astatus)().concurrency == 0
    async_to_sync(limit.areset)()
    assert not limit.status().is_given


@pytest.mark.parametrize("change", [{"concurrency": -1}, {"concurrency": True}, {"rate": "often"}, {"rate": 5}])
def test_what_no_limit_can_be_changed_to(change):
    with pytest.raises(ValueError, match=r"must be a whole number|a rate is a text like"):
        mainspring.limit("all", "memory").change(**change)


def test_a_task_has_a_limit_of_its_own(on, run, backend):
    results = [on(tasks.rarely).enqueue(number) for number in range(3)]

    assert run() == 1
    assert mainspring.limit("task:tests.app.tasks.rarely", backend.alias).status().parked == 2
    with travel("1m", backend=results[0].backend):
        assert run() == 1


@pytest.fixture
def queues(alias, monkeypatch):
    """The option `queues` of the backend, to be filled."""
    queues = {}
    changed = replace(options_for(alias), queue_settings=queues)
    monkeypatch.setattr(MainspringBackend, "mainspring_options", changed)
    return queues


def test_a_queue_has_a_limit_whatever_the_task(on, run, queues):
    queues["mail"] = {"rate": "2/m"}
    results = [on(task, queue_name="mail").enqueue(1, 2) for task in (tasks.add, tasks.add, tasks.add)]
    elsewhere = on(tasks.add).enqueue(1, 2)

    assert run() == 3
    assert mainspring.limit("queue:mail", elsewhere.backend).status().parked == 1
    del queues["mail"]
    with travel("1m", backend=results[0].backend):
        assert run() == 1


@pytest.mark.parametrize("name", ["key:a", "fair:b"])
def test_names_that_are_taken(name):
    with pytest.raises(ValueError, match="cannot begin with 'key:' or 'fair:'"):
        Limit(name, concurrency=1)


class Size(StrEnum):
    LARGE = "large"


def test_a_name_is_made_of_what_the_worker_will_find(on, broker):
    """JSON keeps no enum and no tuple; with another name there the limit would have no numbers."""
    result = on(tasks.charge).enqueue((Size.LARGE,))

    assert "stripe:['large']" in broker.get(result.id).limits
