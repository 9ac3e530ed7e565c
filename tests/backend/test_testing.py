"""What a project's own tests use: drain, enqueued_jobs, assert_enqueued, travel and the pytest fixtures."""

from datetime import timedelta

import pytest
from django.db import transaction

from mainspring import testing
from mainspring.clock import SECOND
from mainspring.compat import task_backends
from mainspring.testing import assert_enqueued, drain, enqueued_jobs, travel
from tests.app import tasks

pytestmark = pytest.mark.django_db(databases=["default", "other"])


def test_drain_runs_what_is_ready(on, alias):
    """And says how many ran."""
    on(tasks.noop).enqueue()
    on(tasks.noop, run_after=timedelta(hours=1)).enqueue()

    assert (drain(alias), drain(alias)) == (1, 0)


def test_drain_raises_what_fails_a_job(on, alias):
    """After the failure has been stored."""
    result = on(tasks.fail).enqueue("no luck")
    with pytest.raises(ValueError, match="no luck"):
        drain(alias)
    result.refresh()
    assert result.state == "failed"


def test_drain_ends_where_jobs_enqueue_each_other_for_ever(on, alias, monkeypatch):
    """As many jobs as that are taken for a loop."""
    monkeypatch.setattr(testing, "MOST", 3)
    for _ in range(3):
        on(tasks.noop).enqueue()
    with pytest.raises(RuntimeError, match="ran 3 jobs and there are still more"):
        drain(alias)


def test_everything_works_inside_a_transaction(on, alias):
    """A TestCase's never commits, and so what waits for that is sent at once."""
    with transaction.atomic():
        on(tasks.add).enqueue(1, 2)
        assert len(assert_enqueued(tasks.add, args=(1, 2), count=1, backend=alias)) == 1
        assert drain(alias) == 1
        assert enqueued_jobs(alias) == []


def test_enqueued_jobs_are_those_that_have_not_ended(on, alias):
    """Oldest first, the deferred ones among them."""
    on(tasks.noop).enqueue()
    drain(alias)
    later = on(tasks.add, run_after=timedelta(hours=1)).enqueue(1, 2)
    now = on(tasks.echo).enqueue("a")

    assert [result.id for result in enqueued_jobs(alias)] == [later.id, now.id]


def test_assert_enqueued_compares_what_is_given(on, alias):
    results = [on(tasks.add).enqueue(1, 2), on(tasks.add).enqueue(1, b=3)]

    assert [result.id for result in assert_enqueued(tasks.add, count=2, backend=alias)] == [r.id for r in results]
    assert [result.kwargs for result in assert_enqueued(tasks.add, args=iter([1]), backend=alias)] == [{"b": 3}]
    assert [result.args for result in assert_enqueued(tasks.add, kwargs={}, backend=alias)] == [[1, 2]]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "tests.app.tasks.noop was expected at least once, found 0 times."),
        ({"count": 2}, "tests.app.tasks.noop was expected 2 times, found 0 times."),
        ({"args": [9], "kwargs": {}}, "tests.app.tasks.noop args=[9] kwargs={} was expected at least once, found 0"),
    ],
)
def test_assert_enqueued_says_what_was_enqueued_instead(on, alias, asked, message):
    on(tasks.add).enqueue(1, b=2)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(tasks.noop, backend=alias, **asked)

    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("Enqueued:\n  tests.app.tasks.add args=[1] kwargs={'b': 2}")


def test_travel_makes_deferred_jobs_due(on, alias):
    """And moves the clock back at the end of the block."""
    for _ in range(2):
        on(tasks.noop, run_after=timedelta(hours=1)).enqueue()
        with travel(timedelta(hours=1), alias):
            assert drain(alias) == 1
        assert drain(alias) == 0


def test_other_backends_are_named():
    """Django's own have nothing to drain."""
    with pytest.raises(TypeError, match=r"mainspring\.testing needs one of"):
        drain("immediate")


@pytest.fixture
def moved_back():
    """What stands before another fixture is undone after it."""
    clock = task_backends["default"].broker.clock
    before = clock.moment()
    yield
    assert clock.moment() - before < 60 * SECOND


def test_the_fixtures_of_pytest(moved_back, mainspring_drain, mainspring_travel):
    """They are the functions, and the clock goes back when the test has ended."""
    tasks.noop.using(run_after=timedelta(minutes=1)).enqueue()

    assert mainspring_drain() == 0
    mainspring_travel(60)
    assert mainspring_drain() == 1
