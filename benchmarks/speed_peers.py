"""
How fast are we, and how fast are our rivals beside us, on the same database or Redis in the same run?

Every round tries each system once, in a new database: enqueues no-op jobs one by one, starts its worker of one
process, and stops the clock, which the first job's first line started, when the last outcome can be read from another
connection. Then the idle worker gets single jobs after random pauses: how long from the call of `enqueue` to the
first line of the job? CPU is that of the drain, of the worker with all its processes and of the database or Redis,
whoever asks it.

    python benchmarks/speed_peers.py --jobs 20000 --rounds 3 --system mainspring-sqlite --system django-ox-sqlite
    python benchmarks/speed_peers.py --jobs 20000 --rounds 3 --needs redis
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from peers.drain import begins, drain
from peers.places import Place, install, place, versions
from peers.systems import QUICK, STORES, System

COLUMNS = (
    *("system", "jobs", "enqueue /s", "drain /s", "worker CPU µs per job", "server CPU µs per job"),
    *("idle start, median ms", "p90 ms", "slowest ms"),
)


def main() -> None:
    options = read_arguments()
    chosen = [system for system in QUICK if system.name in (options.system or [system.name])]
    chosen = [system for system in chosen if options.needs in (None, system.store)]
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{options.pings} single jobs for the idle worker; medians of {options.rounds} rounds (range)\n")
    print(f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        programs = {system: install(system, Path(folder) / system.name, job="noop") for system in chosen}
        figures: dict[System, list[Sequence[float | None]]] = {system: [] for system in chosen}
        for _ in range(options.rounds):
            for system in chosen:
                with place(system, programs[system], job="noop") as here:
                    figures[system].append(measure(here, system.jobs_of(options.jobs), options))
        for system, rounds in figures.items():
            cells = map(shown, zip(*rounds, strict=True))
            print(f"| {system.name} | {system.jobs_of(options.jobs):,} | {' | '.join(cells)} |")
        print()
        for system in chosen:
            print(f"- {system.name} ({versions(system, programs[system])}): {system.quick_settings}.")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=[system.name for system in QUICK], help="default: all")
    parser.add_argument("--needs", choices=STORES, help="only the systems on this store")
    parser.add_argument("--jobs", type=int, default=20_000, help="of which the slowest get a part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pings", type=int, default=20, help="jobs for the idle worker, in each round")
    parser.add_argument("--pause", type=float, nargs=2, default=(0.5, 2.0), metavar=("FROM", "TO"), help="seconds")
    return parser.parse_args()


def measure(here: Place, jobs: int, options: argparse.Namespace) -> Sequence[float | None]:
    """Return one round's figures, in the order of the table."""
    enqueueing = float(here.ask(f"import peer_client; peer_client.enqueue({jobs})"))
    with drain(here, jobs) as drained:
        sent = json.loads(here.ask(f"import peer_client; peer_client.ping({options.pings}, {tuple(options.pause)})"))
        time.sleep(3)  # for the last one
    started = begins(here)
    waits = sorted((started[int(number)] - at) * 1000 for number, at in sent.items())
    tail = waits[int(len(waits) * 0.9)]
    server_cpu = drained.servers_cpu / jobs * 1e6 if here.servers else None
    cpu = drained.worker_cpu / jobs * 1e6, server_cpu
    return jobs / enqueueing, jobs / drained.seconds, *cpu, statistics.median(waits), tail, waits[-1]


def shown(column: Sequence[float | None]) -> str:
    figures = [figure for figure in column if figure is not None]
    if not figures:
        return "–"
    digits = 0 if min(figures) > 100 else 1
    return f"{statistics.median(figures):,.{digits}f} ({min(figures):,.{digits}f} to {max(figures):,.{digits}f})"


if __name__ == "__main__":
    main()
