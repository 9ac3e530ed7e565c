"""One worker runs all that was enqueued, and is watched from outside meanwhile."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from peers.places import Place, Worker, cpu_seconds


class Drain(NamedTuple):
    """How long the jobs took, and the CPU seconds of the worker and of the servers meanwhile."""

    seconds: float
    worker_cpu: float
    servers_cpu: float


@contextlib.contextmanager
def drain(here: Place, jobs: int) -> Iterator[Drain]:
    """
    Start the worker, and time it from the first line of the first job until the last outcome can be read.

    The worker lives until the end of the block.
    """
    with here.asking(f"import peer_client; peer_client.wait_until_stored({jobs})") as watch:
        watch.stdout.readline()  # "ready": it has imported what it needs, which would slow the worker down
        worker = here.start(here.system.quick)
        try:
            yield _timed(here, worker, watch)
        finally:
            worker.kill()


def begins(here: Place) -> dict[int, float]:
    """Return when each job began that noted it, by its number."""
    lines = (line.split() for line in here.log.read_text().splitlines())
    return {int(number): float(at) for what, number, at in lines if what == "begin"}


def _timed(here: Place, worker: Worker, watch: subprocess.Popen[str]) -> Drain:
    _wait(here, worker, lambda: here.log.exists() or watch.poll() is not None)
    before = worker.cpu_seconds(), cpu_seconds(*here.servers)
    _wait(here, worker, lambda: watch.poll() is not None)
    after = worker.cpu_seconds(), cpu_seconds(*here.servers)
    said = here.output.read_text()
    if watch.returncode or "Traceback" in said:  # some systems count a job that has failed with the others
        sys.exit(f"Jobs of {here.system.name} have failed or have not ended, and its worker said:\n{said[-3000:]}")
    return Drain(float(watch.stdout.read()) - begins(here)[0], after[0] - before[0], after[1] - before[1])


def _wait(here: Place, worker: Worker, has_happened: Callable[[], bool]) -> None:
    while not has_happened():
        if worker.process.poll() is not None:
            sys.exit(f"The worker of {here.system.name} has ended:\n{here.output.read_text()[-3000:]}")
        time.sleep(0.005)
