"""Workers as the command starts them, what they use of the processor, and what they get through."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jobs
import psutil
from clients import Client
from stores import Store

WARM_UP = 0.5  # seconds
READY = "is ready"


@contextlib.contextmanager
def started_worker(place: Store, *, processes: int = 1, flags: tuple[str, ...] = ()) -> Iterator["Worker"]:
    """Start the `worker` command on a store, and stop it at the end; it is ready when this begins."""
    command = [sys.executable, "-m", "django", "mainspring", "worker", "--processes", str(processes), *flags]
    with tempfile.NamedTemporaryFile(prefix="worker-", suffix=".log") as log:
        process = subprocess.Popen(command, env=os.environ | place.environment, stdout=log, stderr=log)
        worker = Worker(process, Path(log.name))
        try:
            worker.wait_until_ready(processes)
            yield worker
        finally:
            process.terminate()
            process.wait()


class Worker:
    """A worker that runs, with all its processes."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    def wait_until_ready(self, processes: int) -> None:
        while self._log.read_text().count(READY) < processes:
            self.check()
            time.sleep(0.02)

    def check(self) -> None:
        """Exit with what the worker has said if it has ended."""
        if self._process.poll() is not None:
            sys.exit(f"The worker has ended:\n{self._log.read_text()[-3000:]}")

    @property
    def children(self) -> list[int]:
        """The numbers of the processes that run jobs."""
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that this process has taken, with all that it has started."""
    total = 0.0
    for member in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            # Its clock for the whole process, to the nanosecond; /proc counts in hundredths of a second.
            total += time.clock_gettime((~member.pid << 3) | 2)
            times = member.cpu_times()
            total += times.children_user + times.children_system
    return total


def server_cpu_seconds(place: Store) -> float:
    return cpu_seconds(place.server.process.pid) if place.server else 0.0


class Drain(NamedTuple):
    """What a worker got through in how long, and the CPU seconds of its processes and of the server meanwhile."""

    jobs: int
    seconds: float
    worker_cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds

    @property
    def cpu(self) -> float:
        """CPU microseconds per job."""
        return (self.worker_cpu + self.server_cpu) / self.jobs * 1e6


def drain(place: Store, client: Client, seconds: float, processes: int = 1) -> Drain:
    """
    Start a worker where jobs wait, and measure it for so long, from a moment after it has become ready.

    Only jobs count whose outcome can be read from another connection when the worker has ended.
    """
    with started_worker(place, processes=processes) as worker:
        time.sleep(WARM_UP)
        before = time.time(), worker.cpu_seconds(), server_cpu_seconds(place)
        time.sleep(seconds)
        after = time.time(), worker.cpu_seconds(), server_cpu_seconds(place)
        if not client.do(jobs.are_left):
            sys.exit("No jobs were left before the time was over; try with more of them, or with fewer seconds.")
    since, until = (client.do(jobs.succeeded_since, int(moment[0] * 1e6)) for moment in (before, after))
    took, worker_cpu, server_cpu = (end - start for start, end in zip(before, after, strict=True))
    return Drain(since - until, took, worker_cpu, server_cpu)
