"""Ordered jobs while their workers are killed: each begins after the one before has ended, and none is left behind."""

import threading

from tests.app import hard
from tests.processes.conftest import wait_until
from tests.processes.test_unique import kill_now_and_then

KEYS = ["a", "b", "c"]
SECONDS = 6.0


def test_each_begins_after_the_one_before_has_ended(start_worker, broker, tmp_path):
    """Two workers run, whose processes die again and again."""
    log = tmp_path / "runs"
    workers = [start_worker("--processes", "2", "--threads", "4") for _ in range(2)]
    for worker in workers:
        worker.wait_for_line("is ready", count=2)
    over, enqueued = threading.Event(), dict.fromkeys(KEYS, 0)

    def enqueue():
        while not over.wait(0.02):
            for key in KEYS:
                hard.in_order.enqueue(key, enqueued[key], str(log))
                enqueued[key] += 1
        broker.close()

    thread = threading.Thread(target=enqueue)
    thread.start()
    kill_now_and_then(workers, SECONDS)
    over.set()
    thread.join()

    wait_until(lambda: not broker.search(states=["ready", "deferred", "parked", "running"], limit=1), timeout=90.0)
    for key in KEYS:
        assert ended_in_order(log.read_text(), key) == list(range(enqueued[key]))


def ended_in_order(text, key):
    """Return the steps as they ended first; one begins only when all before it have ended, and may be cut off."""
    ended = []
    for line in text.splitlines():
        what, of_key, step = line.split()
        if of_key != key:
            continue
        if what == "begin":
            assert int(step) <= len(ended), f"{line!r} after the end of {len(ended)}"
        elif int(step) == len(ended):
            ended.append(int(step))
    return ended
