"""One worker runs all that was enqueued, and is watched from outside meanwhile."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from peers.places import Place, Worker, cpu_seconds


class Drain(NamedTuple):
    """How long the jobs took, and the CPU seconds of the worker and of the servers meanwhile."""

    seconds: float
    worker_cpu: float
    servers_cpu: float


def drain(here: Place, worker: Worker, jobs: int) -> Drain:
    """Time this new worker from the first line of the first job until the last outcome can be read."""
    with here.asking(f"import peer_app; peer_app.wait_until_stored({jobs})") as watch:
        _wait(here, worker, here.log.exists)
        before = worker.cpu_seconds(), cpu_seconds(*here.servers)
        _wait(here, worker, lambda: watch.poll() is not None)
        ended = float(watch.stdout.read())
    after = worker.cpu_seconds(), cpu_seconds(*here.servers)
    return Drain(ended - begins(here)[0], after[0] - before[0], after[1] - before[1])


def begins(here: Place) -> dict[int, float]:
    """Return when each job began that noted it, by its number."""
    lines = (line.split() for line in here.log.read_text().splitlines())
    return {int(number): float(at) for what, number, at in lines if what == "begin"}


def _wait(here: Place, worker: Worker, has_happened: Callable[[], bool]) -> None:
    while not has_happened():
        if worker.process.poll() is not None:
            sys.exit(f"The worker of {here.system.name} has ended:\n{here.output.read_text()[-3000:]}")
        time.sleep(0.005)
