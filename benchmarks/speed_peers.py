"""
How fast are we, and how fast is the strongest rival beside us, on the same database in the same run?

Every round tries each system once, in a new database: enqueues no-op jobs one by one, starts its worker of one
process, and stops the clock, which the first job's first line started, when the last outcome can be read from another
connection. Then the idle worker gets single jobs after random pauses: how long from the call of `enqueue` to the
first line of the job?

    python benchmarks/speed_peers.py --jobs 20000 --rounds 3 --system mainspring-sqlite --system django-ox-sqlite
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from peers.places import Place, install, place, versions
from peers.systems import QUICK, System

HEAD = (
    "| system | enqueue /s | drain /s | idle start, median ms | p90 ms | slowest ms |\n|---|---:|---:|---:|---:|---:|"
)


def main() -> None:
    options = read_arguments()
    chosen = [system for system in QUICK if system.name in (options.system or [system.name])]
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{options.jobs} jobs, {options.pings} single ones; medians of {options.rounds} rounds (range)\n\n{HEAD}")
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        programs = {system: install(system, Path(folder) / system.name) for system in chosen}
        figures: dict[System, list[tuple[float, ...]]] = {system: [] for system in chosen}
        for _ in range(options.rounds):
            for system in chosen:
                with place(system, programs[system], job="noop") as here:
                    figures[system].append(measure(here, options))
        for system, rounds in figures.items():
            print(f"| {system.name} | {' | '.join(map(shown, zip(*rounds, strict=True)))} |")
        print()
        for system in chosen:
            print(f"- {system.name} ({versions(system, programs[system])}): {system.quick_settings}.")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=[system.name for system in QUICK], help="default: all")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pings", type=int, default=20, help="jobs for the idle worker, in each round")
    parser.add_argument("--pause", type=float, nargs=2, default=(0.5, 2.0), metavar=("FROM", "TO"), help="seconds")
    return parser.parse_args()


def measure(here: Place, options: argparse.Namespace) -> tuple[float, ...]:
    """Return one round's figures, in the order of the table."""
    enqueueing = float(here.ask(f"import peer_app; peer_app.enqueue({options.jobs})"))
    worker = here.start(here.system.quick)
    try:
        ended = float(here.ask(f"import peer_app; peer_app.wait_until_stored({here.system.stored!r}, {options.jobs})"))
        began = begins(here)[0]
        sent = json.loads(here.ask(f"import peer_app; peer_app.ping({options.pings}, {tuple(options.pause)})"))
        time.sleep(3)  # for the last one
    finally:
        worker.kill()
    started = begins(here)
    waits = sorted((started[int(number)] - at) * 1000 for number, at in sent.items())
    tail = waits[int(len(waits) * 0.9)]
    return options.jobs / enqueueing, options.jobs / (ended - began), statistics.median(waits), tail, waits[-1]


def begins(here: Place) -> dict[int, float]:
    """Return when each job began that noted it, by its number."""
    lines = (line.split() for line in here.log.read_text().splitlines())
    return {int(number): float(at) for what, number, at in lines if what == "begin"}


def shown(column: tuple[float, ...]) -> str:
    digits = 0 if min(column) > 100 else 1
    return f"{statistics.median(column):,.{digits}f} ({min(column):,.{digits}f} to {max(column):,.{digits}f})"


if __name__ == "__main__":
    main()
