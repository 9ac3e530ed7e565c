"""Processes that are replaced because of their age or size, and losing nothing by it."""

from mainspring.job import State
from tests.app import hard, tasks
from tests.processes.conftest import end_of, wait_until


def test_a_process_that_has_grown_too_large_is_replaced(start_worker, broker):
    """After its running jobs; the next ones run in a fresh process."""
    first = end_of(hard.pid.enqueue(), broker_started(start_worker, broker, "--max-memory", "250MB"))
    running = tasks.note_and_hang.enqueue("neighbour", 2)
    end_of(hard.grow.enqueue(300), broker)

    wait_until(lambda: end_of(hard.pid.enqueue(), broker).result != first.result)
    assert end_of(running, broker).state == State.SUCCEEDED


def broker_started(start_worker, broker, *flags):
    start_worker(*flags)
    return broker


def test_a_limit_below_what_the_project_takes_is_said_and_not_heeded(start_worker, broker):
    """Or processes would be replaced for ever."""
    worker = start_worker("--max-memory", "5MB")
    end_of(tasks.noop.enqueue(), broker)
    wait_until(lambda: end_of(tasks.noop.enqueue(), broker) and "Raise max_memory" in worker.output)

    assert worker.output.count("is ready") == 1


def test_nothing_is_lost_and_nothing_runs_twice_while_processes_are_replaced(start_worker, broker):
    """Every job is run once, in more than one process."""
    results = [hard.pid.enqueue() for _ in range(300)]
    start_worker("--max-jobs", "50", "--processes", "2")
    jobs = [end_of(result, broker, timeout=60) for result in results]

    assert {(job.state, job.attempts, job.crashes, job.interruptions) for job in jobs} == {("succeeded", 1, 0, 0)}
    assert len({job.result for job in jobs}) > 2


def test_a_drain_goes_on_in_a_fresh_process(start_worker, broker):
    """That a process has taken its jobs does not mean that none is ready."""
    results = [tasks.noop.enqueue() for _ in range(30)]

    assert start_worker("--drain", "--max-jobs", "10").wait() == 0
    assert {broker.get(result.id).state for result in results} == {State.SUCCEEDED}


def test_a_process_is_replaced_while_its_last_job_lasts(start_worker, broker):
    """Others do not wait for it."""
    start_worker("--max-jobs", "1")
    tasks.note_and_hang.enqueue("a")

    assert end_of(tasks.noop.enqueue(), broker).state == State.SUCCEEDED
