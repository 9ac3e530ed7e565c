"""The worker command, from start to stop, in real processes."""

import json
import os
import signal

import psutil
import pytest

from mainspring.job import State
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, rename, wait_until


def test_a_worker_runs_sync_and_async_jobs(start_worker, broker):
    """Everything that is enqueued before and after the start runs."""
    before = [tasks.add.enqueue(1, 2), tasks.async_echo.enqueue("x")]
    start_worker()
    after = [tasks.mail.enqueue("a@example.org")]

    assert [end_of(result, broker).result for result in before + after] == ["3", '"x"', '"a@example.org"']


def test_drain_ends_when_nothing_is_ready(start_worker, broker):
    """For cron and CI: run what is there, then exit 0."""
    results = [tasks.add.enqueue(number, 1) for number in range(500)]
    worker = start_worker("--drain", "--processes", "2")

    assert worker.wait() == 0, worker.output
    assert {broker.get(result.id).state for result in results} == {State.SUCCEEDED}
    assert broker.workers() == []


def test_what_a_task_starts_inherits_nothing_of_the_worker(start_worker, broker):
    """It can be terminated, and cannot make its worker look alive."""
    result = tasks.inherited.enqueue()
    start_worker("--drain").wait()

    assert json.loads(end_of(result, broker).result) == [[], []]


def test_max_jobs_does_not_end_a_drain(start_worker, broker):
    """A process that has had enough is replaced until nothing is ready."""
    results = [tasks.noop.enqueue() for _ in range(30)]

    assert start_worker("--max-jobs", "10", "--drain").wait() == 0
    assert {broker.get(result.id).state for result in results} == {State.SUCCEEDED}


@pytest.mark.parametrize(
    ("flags", "others", "own"),
    [
        (["--threads", "1", "--async", "0"], tasks.async_noop, tasks.noop),
        (["--threads", "0", "--async", "1"], tasks.noop, tasks.async_noop),
    ],
)
def test_a_kind_of_tasks_without_room_is_left_to_other_workers(start_worker, broker, flags, others, own):
    """Jobs that this worker can never run are passed over, and hide nothing that stands behind them."""
    left = [others.enqueue() for _ in range(20)]
    mine = [own.enqueue() for _ in range(3)]

    assert start_worker("--drain", *flags).wait() == 0
    assert {broker.get(result.id).state for result in mine} == {State.SUCCEEDED}
    assert {broker.get(result.id).state for result in left} == {State.READY}


def test_max_idle_ends_an_idle_worker(start_worker):
    """It ends by itself when nothing was to be done for so long."""
    assert start_worker("--max-idle", "0.2").wait() == 0


def test_max_jobs_replaces_the_process(start_worker, broker):
    """A new process takes over, and no job is lost on the way."""
    results = [tasks.noop.enqueue() for _ in range(30)]
    worker = start_worker("--max-jobs", "10")
    [first] = [child.pid for child in _children(worker)]

    for result in results:
        end_of(result, broker)
    wait_until(lambda: [child.pid for child in _children(worker)] not in ([], [first]))


def test_queues_and_exclude_choose_what_is_served(start_worker, broker):
    """A queue that is not served waits."""
    mail, slow, default = tasks.mail.enqueue("a"), tasks.slow.enqueue(1), tasks.noop.enqueue()
    assert start_worker("--queues", "mail", "--drain").wait() == 0
    assert [broker.get(result.id).state for result in (mail, slow, default)] == ["succeeded", "ready", "ready"]

    assert start_worker("--exclude", "slow", "--drain").wait() == 0
    assert [broker.get(result.id).state for result in (slow, default)] == ["ready", "succeeded"]


def test_a_misspelt_queue_is_named(start_worker):
    """The message says what was meant, and the exit code that nothing started."""
    worker = start_worker("--queues", "mial")

    assert worker.wait() == 1
    assert "did you mean 'mail'?" in worker.output


def test_term_lets_running_jobs_finish(start_worker, broker):
    """A clean stop: what runs ends, and the exit code is 0."""
    result = tasks.note_and_hang.enqueue("a", 0.5)
    worker = start_worker()
    wait_until(Note.objects.exists)
    worker.terminate()

    assert worker.wait() == 0, worker.output
    assert broker.get(result.id).state == State.SUCCEEDED


def test_term_gives_back_what_does_not_finish_in_time(start_worker, broker):
    """Cut off by a deploy: ready again, an interruption, no attempt and no crash."""
    results = [tasks.note_and_hang.enqueue("sync"), tasks.async_note_and_hang.enqueue("async")]
    worker = start_worker("--shutdown-timeout", "0.3")
    wait_until(lambda: Note.objects.count() == 2)
    worker.terminate()

    assert worker.wait() == 0, worker.output
    for result in results:
        job = broker.get(result.id)
        assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.READY, 0, 0, 1)


def test_term_gives_back_what_has_not_begun_without_counting(start_worker, broker):
    """A job that only waited in the process's memory was never touched."""
    results = [tasks.note_and_hang.enqueue(text) for text in "abc"]
    worker = start_worker("--threads", "1", "--shutdown-timeout", "0.3")
    wait_until(Note.objects.exists)
    worker.terminate()

    assert worker.wait() == 0, worker.output
    jobs = [broker.get(result.id) for result in results]
    assert [job.state for job in jobs] == [State.READY] * 3
    assert sorted(job.interruptions for job in jobs) == [0, 0, 1]


def test_a_second_term_ends_at_once(start_worker, broker):
    """Whoever presses Ctrl-C twice does not wait; nothing is lost by it."""
    result = tasks.note_and_hang.enqueue("a")
    worker = start_worker("--shutdown-timeout", "60")
    wait_until(Note.objects.exists)
    worker.terminate()
    worker.wait_for_line("stopping")
    worker.terminate()

    assert worker.wait(10) == 130
    job = broker.get(result.id)
    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.READY, 0, 0, 1)


def test_a_kill_while_it_stops_is_no_crash(start_worker, broker):
    """A service manager that loses patience is no fault of the job."""
    result = tasks.note_and_hang.enqueue("a")
    worker = start_worker("--shutdown-timeout", "60")
    wait_until(Note.objects.exists)
    [child] = worker.children()
    worker.terminate()
    worker.wait_for_line("stopping")
    child.kill()

    assert worker.wait() == 0, worker.output
    job = broker.get(result.id)
    assert (job.state, job.crashes, job.interruptions) == (State.READY, 0, 1)


def test_a_job_that_forks_and_dies_does_not_hold_the_supervisor(start_worker, broker):
    """The fork keeps the line to the supervisor open; the death is noticed all the same."""
    result = tasks.fork_and_die_once.enqueue()
    worker = start_worker()

    job = end_of(result, broker)
    assert (job.state, job.crashes) == (State.SUCCEEDED, 1)
    worker.terminate()
    assert worker.wait() == 0
    os.kill(int(Note.objects.get().text), signal.SIGKILL)


def test_a_fork_keeps_no_connection_of_the_process_that_it_has_outlived(start_worker, broker):
    """The server would not hear of its death, nor let go of what it had locked."""
    result = tasks.fork_and_die_once.enqueue()
    start_worker()
    wait_until(Note.objects.exists)
    fork = psutil.Process(int(Note.objects.get().text))

    wait_until(lambda: not fork.net_connections("inet"))
    assert end_of(result, broker).crashes == 1
    fork.kill()


def test_a_dead_child_is_replaced_and_its_job_runs_again(start_worker, broker):
    """The supervisor sees the death at once; only the job that ran is charged."""
    result = tasks.note_and_hang.enqueue("a")
    worker = start_worker()
    wait_until(Note.objects.exists)
    [child] = worker.children()
    child.kill()

    wait_until(lambda: broker.get(result.id).crashes == 1)
    wait_until(lambda: broker.get(result.id).state == State.RUNNING)
    assert broker.get(result.id).attempts == 0
    assert "was ended by SIGKILL" in worker.output


def test_a_job_that_kills_its_worker_is_quarantined(start_worker, broker):
    """The third death is the last, and the reason can be read."""
    innocent, killer = tasks.noop.enqueue(), tasks.kill_worker.enqueue()
    start_worker("--threads", "1")

    assert end_of(innocent, broker).state == State.SUCCEEDED
    job = end_of(killer, broker)
    assert (job.state, job.crashes) == (State.QUARANTINED, 3)
    killer.refresh()
    assert "SIGKILL" in killer.errors[-1].traceback


def test_a_worker_whose_supervisor_died_ends_by_itself(start_worker, broker):
    """Nobody would beat for it, so it must not go on."""
    worker = start_worker()
    end_of(tasks.noop.enqueue(), broker)
    [child] = worker.children()
    worker.process.send_signal(signal.SIGKILL)

    child.wait(20)


def test_the_jobs_of_a_dead_supervisor_are_rescued(start_worker, broker):
    """Another worker notices the silence, by its own clock."""
    result = tasks.hang_once.enqueue()
    worker = start_worker("--rescue-after", "5")
    wait_until(Note.objects.exists)
    [child] = worker.children()
    worker.process.send_signal(signal.SIGKILL)
    child.kill()
    start_worker("--rescue-after", "5")

    job = end_of(result, broker, timeout=45)
    assert (job.state, job.crashes) == (State.SUCCEEDED, 1)


def test_an_unknown_task_waits_and_slows_nobody(start_worker, broker):
    """Its job stays ready, it is named once, and the others run."""
    unknown = tasks.noop.enqueue()
    rename(broker, unknown.id, "tests.app.tasks.gone")
    worker = start_worker()
    known = tasks.noop.enqueue()

    assert end_of(known, broker).state == State.SUCCEEDED
    worker.wait_for_line("Jobs of tests.app.tasks.gone wait")
    job = broker.get(unknown.id)
    assert (job.state, job.attempts) == (State.READY, 0)


def test_a_retry_comes_at_its_time(start_worker, broker):
    """The supervisor learns of it at once, however far the next heartbeat is."""
    start_worker().wait_for_line("is ready")

    job = end_of(tasks.succeed_at_third.enqueue(), broker, timeout=4)
    assert (job.state, job.attempts, job.result) == (State.SUCCEEDED, 3, "3")


def test_a_deferred_job_starts_when_it_is_due(start_worker, broker):
    """Also when it was enqueued while the worker slept."""
    from datetime import timedelta

    from django.utils import timezone

    start_worker()
    end_of(tasks.noop.enqueue(), broker)
    due = timezone.now() + timedelta(seconds=1)
    job = end_of(tasks.noop.using(run_after=due).enqueue(), broker)

    assert 0 <= job.started_at - job.run_after < 3_000_000


def _children(worker):
    wait_until(worker.children)
    return worker.children()
