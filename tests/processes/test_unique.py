"""Unique jobs while their workers are killed: no two run at once, and no key is stuck."""

import random
import threading
import time

import psutil

from tests.app import hard
from tests.processes.conftest import wait_until

KEYS = ["a", "b", "c"]
SECONDS = 6.0


def test_no_two_run_at_once_and_no_key_is_stuck(start_worker, broker, tmp_path):
    """Several enqueue and two workers run, whose processes die again and again."""
    log = tmp_path / "runs"
    workers = [start_worker("--processes", "2", "--threads", "2") for _ in range(2)]
    for worker in workers:
        worker.wait_for_line("is ready", count=2)
    over = threading.Event()

    def enqueue():
        while not over.wait(0.01):
            hard.exclusive.enqueue(random.choice(KEYS), str(log))
        broker.close()

    threads = [threading.Thread(target=enqueue) for _ in range(3)]
    for thread in threads:
        thread.start()
    deaths = kill_now_and_then(workers, SECONDS)
    over.set()
    for thread in threads:
        thread.join()

    wait_until(lambda: not broker.search(states=["ready", "deferred", "waiting", "running"], limit=1), timeout=60.0)
    assert overlaps(log.read_text(), deaths) == []
    assert [hard.exclusive.enqueue(key, str(log)).is_existing for key in KEYS] == [False] * len(KEYS)


def kill_now_and_then(workers, seconds):
    """Kill processes of workers; return when each was dead, by its id."""
    deaths = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        threading.Event().wait(random.uniform(0.5, 1.5))
        children = [child for worker in workers for child in worker.children()]
        if children:
            victim = random.choice(children)
            deaths[victim.pid] = time.monotonic_ns()  # before: the next run may begin as soon as it is dead
            victim.kill()
            psutil.wait_procs([victim], timeout=10)
    return deaths


def overlaps(text, deaths):
    """Return the runs that began while another with their key ran; one whose process has died runs no more."""
    running, found = {}, []
    for line in text.splitlines():
        what, key, pid, at = line.split()
        if what == "begin":
            other = running.get(key)
            if other is not None and deaths.get(other, float("inf")) > int(at):
                found.append((line, other))
            running[key] = int(pid)
        elif running.get(key) == int(pid):
            del running[key]
    assert len(text.splitlines()) > 20
    return found
