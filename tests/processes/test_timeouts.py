"""Jobs that last too long, in real processes: what they are told, and what becomes of those that take no notice."""

import json

import pytest

from mainspring.job import State
from tests.app import hard, tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until

EXCEEDED = "mainspring.exceptions.TimeLimitExceeded"


def error_of(job):
    return json.loads(job.errors)[-1]


@pytest.mark.parametrize("task", [hard.spin, hard.linger])
def test_a_job_that_lasts_too_long_is_interrupted(start_worker, broker, task):
    """It has failed with the reason and the place, and the process goes on."""
    late = task.enqueue()
    worker = start_worker("--threads", "1")
    job = end_of(late, broker)
    next_job = end_of(hard.pid.enqueue(), broker)

    assert (job.state, error_of(job)["exception_class_path"]) == (State.FAILED, EXCEEDED)
    assert "timeout of 0.5 s" in error_of(job)["traceback"]
    assert "hard.py" in error_of(job)["traceback"]
    assert int(next_job.result) in [child.pid for child in worker.children()]
    assert "another takes its place" not in worker.output


@pytest.mark.parametrize("task", [hard.sleep_through, hard.swallow, hard.block_the_loop, hard.hang_in_a_log_handler])
def test_a_job_that_takes_no_notice_is_failed_and_its_process_replaced(start_worker, broker, task):
    """The row says what happened and where the code stood; another process has taken over."""
    late = task.enqueue()
    worker = start_worker("--threads", "2")
    wait_until(Note.objects.exists)
    [first] = worker.children()
    job = end_of(late, broker)
    next_job = end_of(hard.pid.enqueue(), broker)

    assert (job.state, job.crashes, error_of(job)["exception_class_path"]) == (State.FAILED, 0, EXCEEDED)
    assert "took no notice" in error_of(job)["traceback"]
    assert task.func.__name__ in error_of(job)["traceback"]
    assert int(next_job.result) != first.pid
    first.wait(30)


def test_neighbours_of_a_hung_job_run_to_their_end(start_worker, broker):
    """The old process claims no more, and goes only when nothing but the hung job is left."""
    neighbour = tasks.note_and_hang.enqueue("neighbour", 3)
    late = hard.sleep_through.enqueue()
    worker = start_worker("--threads", "2")
    wait_until(lambda: Note.objects.count() == 2)
    [first] = worker.children()

    assert end_of(late, broker).state == State.FAILED
    job = end_of(neighbour, broker)
    assert (job.state, job.interruptions, job.crashes) == (State.SUCCEEDED, 0, 0)
    first.wait(30)


def test_a_job_that_holds_the_interpreter_is_ended_from_outside(start_worker, broker):
    """Its neighbour is interrupted, which is counted, and runs again elsewhere."""
    neighbour = tasks.note_and_hang.enqueue("neighbour", 2)
    worker = start_worker("--threads", "2")
    wait_until(Note.objects.exists)
    late = hard.hold_the_interpreter.enqueue()
    job = end_of(late, broker, timeout=60)

    assert (job.state, job.crashes, error_of(job)["exception_class_path"]) == (State.FAILED, 0, EXCEEDED)
    assert "hold_the_interpreter" in error_of(job)["traceback"]
    job = end_of(neighbour, broker)
    assert (job.state, job.interruptions, job.crashes) == (State.SUCCEEDED, 1, 0)
    assert "it is killed" in worker.output


def test_a_late_job_is_tried_again_while_attempts_are_left(start_worker, broker):
    """A timeout counts as an attempt, like an error."""
    late = hard.late_at_first.enqueue()
    start_worker()
    job = end_of(late, broker)

    assert (job.state, job.attempts, job.result) == (State.SUCCEEDED, 2, '"in time"')


def test_the_timeout_of_the_worker_holds_for_tasks_without_one(start_worker, broker):
    """By flag."""
    late = tasks.async_hang.enqueue()
    start_worker("--timeout", "0.5")

    assert error_of(end_of(late, broker))["exception_class_path"] == EXCEEDED


def test_a_long_hold_of_the_interpreter_is_no_death(start_worker, broker):
    """Beats come from the supervisor, so a job without a timeout may hold its process for longer than a lease."""
    held = hard.hold_briefly.enqueue(8)
    start_worker("--rescue-after", "5")
    start_worker("--rescue-after", "5")
    job = end_of(held, broker, timeout=60)

    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.SUCCEEDED, 1, 0, 0)
