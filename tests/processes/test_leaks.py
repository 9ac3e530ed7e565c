"""A worker that has run many jobs is no larger than one that has run some."""

import os

import psutil
import pytest

from mainspring.backends import enqueue_many
from mainspring.compat import task_backends
from mainspring.job import ENDS
from tests.app import tasks
from tests.processes.conftest import SOON, wait_until

JOBS = int(os.environ.get("MAINSPRING_TEST_LEAKS", "100000"))
WARM = JOBS // 5
MEGABYTE = 10**6
# The four that run jobs begin when they are needed; beside them the main one, the loop, the event loop and a sweep.
MOST_THREADS = 4 + 4


@pytest.mark.storm
@pytest.mark.timeout(400)
def test_nothing_grows_with_the_number_of_jobs(start_worker, transactional_db):
    """Memory, open files, threads and sockets after a fifth of the jobs and after all of them."""
    worker = start_worker()
    wait_until(worker.children)
    worker.wait_for_line("is ready")
    [child] = worker.children()
    run(WARM)
    before = size_of(child)
    run(JOBS - WARM)
    after = size_of(child)

    print("before", before, "after", after)
    assert after["memory"] - before["memory"] < 8 * MEGABYTE  # 100 bytes a job
    assert after["files"] <= before["files"] + 2
    assert after["threads"] <= MOST_THREADS
    assert psutil.Process(worker.process.pid).num_fds() < 40


def run(number):
    """Have the worker run so many jobs."""
    results = []
    for start in range(0, number, 1000):
        results = enqueue_many(tasks.noop, [()] * min(1000, number - start))
    last = results[-1].id
    broker = task_backends["default"].broker
    wait_until(lambda: broker.get(last).state in ENDS, timeout=10 * SOON)


def size_of(process):
    with process.oneshot():
        return {
            "memory": process.memory_info().rss,
            "files": process.num_fds(),
            "threads": process.num_threads(),
        }
