"""Django's signals around a job: who sends them, and what they carry."""

from contextlib import contextmanager

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction

import mainspring
from mainspring.compat import TaskResultStatus, task_enqueued, task_finished, task_started
from tests.app import tasks


@contextmanager
def heard(*signals):
    """Collect `(signal, sender, status, result)` of what is sent inside the block."""
    found = []
    receivers = []
    for signal in signals:

        def receive(sender, task_result, signal, **kwargs):
            found.append((signal, sender, task_result.status, task_result))

        receivers.append((signal, receive))
        signal.connect(receive)
    try:
        yield found
    finally:
        for signal, receive in receivers:
            signal.disconnect(receive)


def test_the_signals_of_a_success(on, backend, run):
    """The sender is the backend's class, the result is as it was at that moment."""
    with heard(task_enqueued, task_started, task_finished) as found:
        result = on(tasks.add).enqueue(1, 2)
        run()

    assert [(signal, sender, status) for signal, sender, status, _ in found] == [
        (task_enqueued, type(backend), TaskResultStatus.READY),
        (task_started, type(backend), TaskResultStatus.RUNNING),
        (task_finished, type(backend), TaskResultStatus.SUCCESSFUL),
    ]
    assert {heard_of.id for *_, heard_of in found} == {result.id}
    assert [heard_of.attempts for *_, heard_of in found] == [0, 1, 1]
    assert found[-1][-1].return_value == 3
    assert found[0][-1].task == on(tasks.add)


def test_the_signals_of_a_failure(on, run):
    """The finished result carries the error."""
    with heard(task_finished) as found:
        on(tasks.fail).enqueue("no")
        run()

    [(_, _, status, result)] = found
    assert status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class is ValueError


def test_enqueued_is_sent_for_async_and_for_each_of_many(on):
    """However a job comes in."""
    with heard(task_enqueued) as found:
        first = async_to_sync(on(tasks.noop).aenqueue)()
        others = mainspring.enqueue_many(on(tasks.noop), [(), ()])

    assert [result.id for *_, result in found] == [result.id for result in [first, *others]]


def test_enqueued_is_sent_when_the_job_exists(on):
    """A receiver can look it up, inside the transaction too."""
    seen = []

    def receive(sender, task_result, **kwargs):
        seen.append(on(tasks.noop).get_result(task_result.id).status)

    task_enqueued.connect(receive)
    try:
        on(tasks.noop).enqueue()
        with transaction.atomic():
            on(tasks.noop).enqueue()
    finally:
        task_enqueued.disconnect(receive)
    assert seen == [TaskResultStatus.READY] * 2


def test_a_receiver_that_raises_is_heard_by_the_caller(on):
    """As with Django's own backends."""

    def receive(**kwargs):
        raise RuntimeError("receiver")

    task_enqueued.connect(receive)
    try:
        with pytest.raises(RuntimeError, match="receiver"):
            on(tasks.noop).enqueue()
    finally:
        task_enqueued.disconnect(receive)


def test_the_enqueue_is_logged_by_django(on, caplog):
    """Its own receiver does it."""
    with caplog.at_level("DEBUG", settings.DJANGO_TASKS):
        result = on(tasks.noop).enqueue()
    lines = [record.getMessage() for record in caplog.records if record.name == settings.DJANGO_TASKS]
    assert lines == [f"Task id={result.id} path=tests.app.tasks.noop enqueued backend={result.backend}"]
