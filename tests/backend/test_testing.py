"""`mainspring.testing`, on every backend, inside a TestCase's transaction and without one."""

import pytest

from mainspring.backends import broker_for
from mainspring.compat import task_backends
from mainspring.testing import drain
from tests.app import odd, tasks
from tests.app.models import Note

IN_A_TRANSACTION = pytest.param("TestCase", marks=pytest.mark.django_db)
WITH_COMMITS = pytest.param("TransactionTestCase", marks=pytest.mark.django_db(transaction=True))


@pytest.fixture(params=[IN_A_TRANSACTION, WITH_COMMITS])
def case(request):
    """The class of Django's that pytest-django makes of the test."""
    return request.param


@pytest.fixture(params=["memory", "default"])
def alias(request, case):
    yield request.param
    task_backends["memory"].clear()


@pytest.fixture(autouse=True)
def clocks_stand_right():
    """Nobody's journey goes on in the next test."""
    yield
    for alias in ("memory", "default"):
        assert broker_for(alias).clock._travelled == 0


@pytest.mark.parametrize("task", [odd.break_the_transaction, tasks.note_then_fail])
def test_a_job_that_fails_in_the_database_harms_no_other(on, alias, task):
    """Inside a TestCase as well, whose transaction an error would end on PostgreSQL."""
    failed = on(task).enqueue(*(["text"] if task is tasks.note_then_fail else []))
    other = on(tasks.note).enqueue("other")

    assert drain(alias, raise_errors=False) == 2
    failed.refresh()
    assert failed.state == "failed"
    assert Note.objects.get(pk=other.get(timeout=0)).text == "other"
