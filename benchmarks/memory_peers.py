"""
How much of Redis's memory does a waiting job take, and what is left of it when it has run, here and in other systems?

Each system gets a new Redis, of which `used_memory` is read while nobody else is connected: before all, when the jobs
are enqueued, and when a worker has run them all and is gone. The jobs have a small number for an argument, or a number
and a text of 100 bytes, and return None. Each system keeps results as in speed_peers.py; the notes say what that is.

    python benchmarks/memory_peers.py --jobs 10000 --system mainspring-redis --system rq-redis
"""

import argparse
import platform
import secrets
import tempfile
import time
from pathlib import Path

from peers.drain import drain
from peers.places import Place, install, place, versions
from peers.systems import QUICK

SYSTEMS = [system for system in QUICK if system.needs == ("redis",)]
# By chance, because rq compresses what it stores.
ARGUMENTS = {"a number": (), "a number and 100 bytes": (secrets.token_urlsafe(75),)}
HEAD = "| system | arguments | bytes per waiting job | bytes per job that has run |\n|---|---|---:|---:|"


def main() -> None:
    options = read_arguments()
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {options.jobs:,} jobs\n")
    print(HEAD, flush=True)
    notes = []
    for system in SYSTEMS:
        if system.name not in (options.system or [system.name]):
            continue
        with tempfile.TemporaryDirectory(prefix="memory-") as folder:
            programs = install(system, Path(folder), job="noop")
            for shown, rest in ARGUMENTS.items():
                with place(system, programs, job="noop") as here:
                    waiting, kept = measure(here, options.jobs, rest)
                print(f"| {system.name} | {shown} | {waiting:,.0f} | {kept:,.0f} |", flush=True)
            notes.append(f"- {system.name} ({versions(system, programs)}): {system.quick_settings}.")
    print("", *notes, sep="\n")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=[system.name for system in SYSTEMS], help="default: all")
    parser.add_argument("--jobs", type=int, default=10_000)
    return parser.parse_args()


def measure(here: Place, jobs: int, rest: tuple[str, ...]) -> tuple[float, float]:
    """Return the bytes per job while all wait, and when all have run."""
    empty = used_memory(here)
    here.ask(f"import peer_client; peer_client.enqueue({jobs}, *{rest!r})")
    waiting = used_memory(here)
    with drain(here, jobs):
        time.sleep(2)  # for what follows an outcome, like its acknowledgement
    return (waiting - empty) / jobs, (used_memory(here) - empty) / jobs


def used_memory(here: Place) -> int:
    return int(here.ask("import peer_client; peer_client.used_memory()"))


if __name__ == "__main__":
    main()
