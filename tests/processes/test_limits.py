"""Limits while workers are killed: never exceeded, and what the dead held comes back."""

import threading

from mainspring.job import State
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


def test_a_job_that_waits_for_its_rate_starts_when_its_time_has_come(start_worker, broker, tmp_path):
    """And not with the next heartbeat of its supervisor, which is 20 s away here."""
    log = tmp_path / "runs"
    start_worker("--rescue-after", "60s").wait_for_line("is ready")
    pushed = [hard.four_a_second.enqueue(str(log)) for _ in range(10)]
    wait_until(lambda: all(broker.get(job.id).state == State.SUCCEEDED for job in pushed))

    begun = [float(line) for line in log.read_text().splitlines()]
    assert 8 * 0.25 <= begun[-1] - begun[0] < 15.0


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
