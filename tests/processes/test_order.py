"""Ordered jobs while their workers are killed: each begins after the one before has ended, and none is left behind."""

import threading

from mainspring import job as machine
from mainspring.clock import SECOND
from mainspring.payload import encode_arguments
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


def test_a_drain_runs_what_its_own_jobs_have_kept_waiting(start_worker, broker, tmp_path):
    """They stand at places that its claims have passed, and its last look may have found nothing."""
    log = tmp_path / "runs"
    at = broker.clock.moment() - 60 * SECOND
    pushed = [
        machine.new_job(
            task_path=hard.in_order.module_path,
            arguments=encode_arguments("", ["a", step, str(log)], {}, 10_000),
            queue_name="default",
            priority=0,
            at=at + step,
            order_key="key:line:a",
            blocks="retrying",
        )
        for step in range(4)
    ]
    broker.push(pushed)
    assert start_worker("--drain").wait(60) == 0
    assert ended_in_order(log.read_text(), "a") == [0, 1, 2, 3]


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
