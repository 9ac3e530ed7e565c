"""Tasks that harm the process which runs them: each fails alone."""

import json
import signal

import pytest

from mainspring.job import State
from tests.app import hard, tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, rename, wait_until

HARMLESS = [
    (hard.exhaust_memory, "failed", "MemoryError"),
    (hard.leave, "failed", "SystemExit"),
    (hard.press_ctrl_c, "failed", "KeyboardInterrupt"),
    (hard.stop_the_loop, "failed", "StopIteration"),
    (hard.deep, "failed", "RecursionError"),
    (hard.return_rubbish, "failed", "TypeError"),
    (hard.raise_unprintable, "failed", "Unprintable"),
    (hard.stop_the_event_loop, "succeeded", ""),
    (hard.leave_limited, "failed", "SystemExit"),
    (hard.cancel_itself, "failed", "CancelledError"),
    (hard.set_a_signal_handler, "failed", "ValueError"),
    (hard.raise_from_del, "failed", "AttributeError"),
    (hard.fork, "succeeded", ""),
    (hard.close_connection, "succeeded", ""),
    (hard.leave_a_transaction, "succeeded", ""),
    (hard.leave_a_transaction_in_sql, "succeeded", ""),
    (hard.fail_and_leave, "failed", "LookupError"),
    (hard.leave_threads, "succeeded", ""),
]


def test_what_only_fails_harms_nobody(start_worker, broker):
    """One process runs them all, with a good job after each, and is still the same at the end."""
    ends = []
    for task, state, error in HARMLESS:
        ends.append((task.enqueue(), state, error, tasks.note.enqueue("neighbour")))
    worker = start_worker("--threads", "1")
    wait_until(worker.children)
    [first] = worker.children()

    for result, state, error, neighbour in ends:
        job = end_of(result, broker)
        errors = json.loads(job.errors)
        assert (job.state, job.crashes) == (state, 0), job
        assert error in (errors[-1]["exception_class_path"] if errors else "")
        assert end_of(neighbour, broker).state == State.SUCCEEDED
    assert Note.objects.filter(text="neighbour").count() == len(HARMLESS)
    assert not Note.objects.filter(text="never committed").exists()
    assert [child.pid for child in worker.children()] == [first.pid]


@pytest.mark.parametrize("task", [hard.exit_at_once, hard.exit_like_a_stop, hard.crash])
def test_what_kills_its_process_is_quarantined_and_takes_nobody_along(start_worker, broker, task):
    """Each death is charged to the one who caused it, and the reason can be read."""
    killer = task.enqueue()
    innocents = [hard.note_pid.enqueue(str(number)) for number in range(40)]
    start_worker("--threads", "2")

    job = end_of(killer, broker, timeout=60)
    assert (job.state, job.crashes) == (State.QUARANTINED, 3)
    assert "The process that ran this job" in json.loads(job.errors)[-1]["traceback"]
    for result in innocents:
        job = end_of(result, broker)
        assert job.state == State.SUCCEEDED
        assert job.crashes <= 1


def test_what_a_task_starts_can_be_ended_and_holds_nothing(start_worker, broker):
    """It heeds signals as usual, and has no file of the worker, whose lifeline it would hold."""
    start_worker()
    ended = end_of(hard.start_and_end_programs.enqueue(), broker)
    files = end_of(hard.inherited_files.enqueue(), broker)

    assert (json.loads(ended.result), json.loads(files.result)) == ([-signal.SIGTERM, -signal.SIGTERM], [])


def test_a_job_that_crashed_before_runs_alone_in_its_process(start_worker, broker):
    """So the second and the third death have nobody else to blame, and others go on meanwhile."""
    killer = hard.crash_twice.enqueue()
    worker = start_worker("--threads", "4")
    wait_until(lambda: broker.get(killer.id).crashes >= 1)
    innocents = [hard.note_pid.enqueue(str(number)) for number in range(40)]

    job = end_of(killer, broker, timeout=60)
    assert (job.state, job.crashes) == (State.SUCCEEDED, 2)
    ended = [end_of(result, broker) for result in innocents]
    assert {job.crashes for job in ended} == {0}
    assert job.result not in {job.result for job in ended}
    worker.wait_for_line("for jobs that run alone")


def test_a_job_that_may_run_only_once_is_never_run_again(start_worker, broker):
    """`max_crashes` 0: a payment whose process died."""
    once = hard.crash_once_only.enqueue()
    start_worker()

    job = end_of(once, broker)
    assert (job.state, job.crashes) == (State.QUARANTINED, 1)
    assert Note.objects.filter(text="crash_once_only").count() == 1


def test_drain_ends_only_when_what_runs_alone_has_run_too(start_worker, broker):
    """Nothing that is ready is left behind."""
    killer = hard.crash_twice.enqueue()
    worker = start_worker("--drain")

    assert worker.wait(60) == 0, worker.output
    assert broker.get(killer.id).state == State.SUCCEEDED
    assert worker.output.count("ready for jobs that run alone") == 2, "one would have been started in vain"


def test_what_nobody_can_run_alone_does_not_keep_processes_starting(start_worker, broker):
    """A job that crashed, and whose task has gone since, waits; a drain ends all the same."""
    killer = hard.exit_at_once.enqueue()
    broker.claim("gone", None, 1)
    [job] = broker.rescue(["gone"], max_crashes=3)
    rename(broker, job.id, "tests.app.hard.gone")
    worker = start_worker("--drain")

    assert worker.wait(60) == 0, worker.output
    assert broker.get(killer.id).state == State.READY
    assert worker.output.count("for jobs that run alone") == 1
