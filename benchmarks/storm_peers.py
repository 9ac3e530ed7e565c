"""
What is left of the jobs when all workers are killed again and again, here and in other systems?

Enqueues jobs, then kills the whole worker (SIGKILL) a second or more after it has begun a job and starts it again at
once, for so many seconds. Then a worker is left in peace until every job has ended or nothing has moved for a while.
Each system comes from PyPI into an environment of its own, which goes when it is done.

    python benchmarks/storm_peers.py --system huey --system celery --seconds 30
"""

import argparse
import collections
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from peers.places import Place, install, place, versions
from peers.systems import STORMED, System

HEAD = (
    "| system | jobs | kills | ended | never ended | ended more than once | s of calm until the last end |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


@dataclass
class Log:
    """The file to which every job writes when it begins and when it ends."""

    path: Path

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def has_begun_after(self, size: int) -> bool:
        if self.size() <= size:
            return False
        return b"begin" in self.path.read_bytes()[size:]

    def ends(self) -> list[tuple[int, float]]:
        """Return the job and the moment of each end, in the order in which they came."""
        lines = [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [(int(number), float(at)) for what, number, at in lines if what == "end"]


def main() -> None:
    options = read_arguments()
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{options.jobs} jobs of 10 to 50 ms, {options.seconds:g} s of storm\n\n{HEAD}", flush=True)
    chosen = [system for system in STORMED if system.name in (options.system or [system.name])]
    notes = []
    for system in chosen:
        with tempfile.TemporaryDirectory(prefix="storm-") as folder:
            notes.append(measure(system, Path(folder), options))
    print("", *notes, sep="\n")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=[system.name for system in STORMED], help="default: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="of storm")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measure(system: System, folder: Path, options: argparse.Namespace) -> str:
    """Print the system's line of the table and return its line of the notes."""
    programs = install(system, folder, job="short")
    with place(system, programs, job="short") as here:
        here.ask(f"import peer_client; peer_client.enqueue({options.jobs})")
        print(storm(here, options), flush=True)
    return f"- {system.name} ({versions(system, programs)}): {system.settings}."


def storm(here: Place, options: argparse.Namespace) -> str:
    """Strike until the storm is over, wait until nothing moves, and return a line of the table."""
    system, log, chance = here.system, Log(here.log), random.Random(options.seed)
    worker, kills = here.start(system.command), 0
    over_at = time.monotonic() + options.seconds
    try:
        while wait_for_begin(log, over_at):
            time.sleep(chance.uniform(1.0, 1.6))
            worker.kill()
            kills += 1
            worker = here.start(system.command)
        calm_at = time.monotonic()
        wait_until_still(log, options.jobs, system.patience)
    finally:
        worker.kill()
    if not log.ends():
        sys.exit(f"{system.name} has run nothing:\n{here.output.read_text()[-3000:]}")
    figures = (options.jobs, kills, *counted(log, options.jobs, calm_at))
    return f"| {system.name} | {' | '.join(map(str, figures))} |"


def counted(log: Log, jobs: int, calm_at: float) -> tuple[int, int, int, str]:
    """Return how many jobs ended, never ended, and ended more than once, and when in the calm the last one did."""
    ends = log.ends()
    times = collections.Counter(number for number, _ in ends)
    again = sum(count > 1 for count in times.values())
    return len(times), jobs - len(times), again, f"{max(ends[-1][1] - calm_at, 0):.1f}"


def wait_for_begin(log: Log, over_at: float) -> bool:
    """Wait until a job has begun from now on; False if the storm is over before."""
    size = log.size()
    while time.monotonic() < over_at:
        if log.has_begun_after(size):
            return True
        time.sleep(0.02)
    return False


def wait_until_still(log: Log, jobs: int, patience: float) -> None:
    """Wait until every job has ended, or nothing has been written for so many seconds."""
    size, moved_at = log.size(), time.monotonic()
    while time.monotonic() - moved_at < patience:
        time.sleep(0.2)
        if log.size() != size:
            size, moved_at = log.size(), time.monotonic()
        elif len({number for number, _ in log.ends()}) == jobs and time.monotonic() - moved_at > 3:
            return


if __name__ == "__main__":
    main()
