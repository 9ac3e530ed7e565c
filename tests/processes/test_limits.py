"""Limits while workers are killed: never exceeded, and what the dead held comes back."""

import threading

from tests.app import hard
from tests.processes.conftest import wait_until
from tests.processes.test_unique import kill_now_and_then

MANY = 250
SECONDS = 6.0


def test_never_more_at_once_and_all_run_in_the_end(start_worker, broker, tmp_path):
    """Two workers run, whose processes die again and again while they hold something."""
    log = tmp_path / "runs"
    workers = [start_worker("--processes", "2", "--threads", "4") for _ in range(2)]
    for worker in workers:
        worker.wait_for_line("is ready", count=2)

    def enqueue():
        for _ in range(MANY):
            hard.few_at_once.enqueue(str(log))
        broker.close()

    enqueuing = threading.Thread(target=enqueue)
    enqueuing.start()
    deaths = kill_now_and_then(workers, SECONDS)
    enqueuing.join()

    wait_until(lambda: not broker.search(states=["ready", "parked", "running"], limit=1), timeout=90.0)
    assert most_at_once(log.read_text(), deaths) == 2
    assert (broker.level("few").held, broker.holding("few")) == (0, [])


def most_at_once(text, deaths):
    """Return how many ran at once at the most; one whose process has died runs no more."""
    running, most = [], 0
    for line in text.splitlines():
        what, pid, at = line.split()
        running = [other for other in running if deaths.get(other, float("inf")) > int(at)]
        if what == "begin":
            running.append(int(pid))
        elif int(pid) in running:
            running.remove(int(pid))
        most = max(most, len(running))
    assert text.count("end") >= MANY
    return most
