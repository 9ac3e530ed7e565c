"""
How many jobs a second does one worker process drain, here and in the other queues on the same store?

Mainspring and each peer are measured in pairs, one right after the other, the order changing from pair to pair, each
time in a new database. All jobs are enqueued before the worker starts, one by one or, with `--bulk`, in the system's
own bulk way where it has one. The clock starts at the first job's first line and stops when the last outcome can be
read from another connection. CPU is that of the drain, of the worker with all its processes and of the server.

Commits are durable (fsync on; Redis: everysec), Django's logging is the default, results are kept where the system
can, signals are sent. Peers run at their best settings, which the notes tell; the slowest get a part of the jobs.

    python benchmarks/drain_peers.py --store postgresql --json drain-postgresql.json
    python benchmarks/drain_peers.py --store sqlite --peer huey-sqlite --job query --jobs 2000 --rounds 1 --bulk
"""

import argparse
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from figures import Report
from peers.drain import drain
from peers.places import install, place, versions
from peers.systems import QUICK, STORES, System

JOBS = {
    "noop": "does nothing",
    "kilobyte": "takes 1 kB of arguments and returns 1 kB",
    "query": "asks the database through Django's ORM whether a row exists",
    "async_noop": "is a coroutine that does nothing",
}
COLUMNS = (
    *("peer", "pairs", "its jobs", "its jobs /s", "Mainspring jobs /s", "Mainspring / peer"),
    *("its worker CPU µs per job", "Mainspring worker CPU µs per job"),
    *("its server CPU µs per job", "Mainspring server CPU µs per job"),
)
OURS = [system for system in QUICK if system.name.startswith("mainspring")]
PEERS = [system for system in QUICK if system not in OURS]
TEXT = secrets.token_urlsafe(750)  # 1,000 characters that do not compress


class Figures(NamedTuple):
    """One drain: jobs per second, and CPU microseconds per job."""

    speed: float
    worker_cpu: float
    server_cpu: float


def main() -> None:
    options = read_arguments()
    chosen = [peer for peer in PEERS if peer.store == options.store and peer.name in (options.peer or [peer.name])]
    left_out = [peer for peer in chosen if peer.without[0] == options.job]
    pairs = {peer: ours_beside(peer) for peer in chosen if peer not in left_out}
    systems = list(dict.fromkeys([*pairs.values(), *pairs]))
    report = Report(
        f"How many jobs a second does one worker process drain, on {options.store}?",
        COLUMNS,
        job=f"{options.job}, which {JOBS[options.job]}",
        jobs=options.jobs,
        enqueued="in bulk" if options.bulk else "one by one",
    )
    with tempfile.TemporaryDirectory(prefix="drain-") as folder:
        programs = install_all(systems, Path(folder), options.job)
        for peer, ours in pairs.items():
            report.add(compared(peer, ours, programs, options))
            report.save(options.json)  # so that what has been measured stays if a later peer fails
        with place(systems[0], programs[systems[0]], options.job) as here:
            report.note(f"store: {here.store}")
        for system in systems:
            report.note(described(system, programs[system], options.bulk))
    for peer in left_out:
        report.note(f"{peer.name} is left out: {peer.without[1]}.")
    report.save(options.json)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="postgresql", choices=STORES, help="default: postgresql")
    parser.add_argument(
        "--peer", action="append", choices=[peer.name for peer in PEERS], help="default: all on the store"
    )
    parser.add_argument("--job", default="noop", choices=JOBS)
    parser.add_argument("--jobs", type=int, default=50_000, help="of which the slowest get a part")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of Mainspring and each peer")
    parser.add_argument("--slow-rounds", type=int, help="pairs with the slowest; default: as many")
    parser.add_argument("--bulk", action="store_true", help="enqueue in bulk where the system can, to save time")
    parser.add_argument("--json", metavar="FILE", help="where to save the figures")
    return parser.parse_args()


def ours_beside(peer: System) -> System:
    return next(ours for ours in OURS if (ours.store, ours.synchronous) == (peer.store, peer.synchronous))


def install_all(systems: Iterable[System], folder: Path, job: str) -> dict[System, Path]:
    """Return where each system's programs are; those with the same packages share an environment."""
    environments: dict[tuple[str, ...], Path] = {}
    for system in systems:
        if system.packages not in environments:
            environments[system.packages] = install(system, folder / system.name, job)
    return {system: environments[system.packages] for system in systems}


def compared(
    peer: System, ours: System, programs: Mapping[System, Path], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure the pairs, and return the row of the table."""
    rounds = []
    is_slow = peer.share < 1
    for number in range(options.slow_rounds if is_slow and options.slow_rounds else options.rounds):
        order = (ours, peer) if number % 2 == 0 else (peer, ours)
        figures = {system: measured(system, programs[system], options) for system in order}
        rounds.append((figures[peer], figures[ours]))
    theirs, mine = (Figures(*zip(*side, strict=True)) for side in zip(*rounds, strict=True))
    has_server = bool(peer.needs)
    return {
        "peer": peer.name,
        "pairs": len(rounds),
        "its jobs": peer.jobs_of(options.jobs),
        "its jobs /s": theirs.speed,
        "Mainspring jobs /s": mine.speed,
        "Mainspring / peer": [ours / its for ours, its in zip(mine.speed, theirs.speed, strict=True)],
        "its worker CPU µs per job": theirs.worker_cpu,
        "Mainspring worker CPU µs per job": mine.worker_cpu,
        "its server CPU µs per job": theirs.server_cpu if has_server else None,
        "Mainspring server CPU µs per job": mine.server_cpu if has_server else None,
    }


def measured(system: System, programs: Path, options: argparse.Namespace) -> Figures:
    """Let the system drain its jobs once."""
    jobs = system.jobs_of(options.jobs)
    enqueue = "enqueue_in_bulk" if options.bulk and system.bulk else "enqueue"
    rest = (TEXT,) if options.job == "kilobyte" else ()
    with place(system, programs, options.job) as here:
        here.ask(f"import peer_client; peer_client.{enqueue}({jobs}, *{rest!r})")
        with drain(here, jobs) as drained:
            return Figures(jobs / drained.seconds, drained.worker_cpu / jobs * 1e6, drained.servers_cpu / jobs * 1e6)


def described(system: System, programs: Path, in_bulk: bool) -> str:
    """Return what one must know of the system to read its figures."""
    told = f"{system.name} ({versions(system, programs)}): {system.quick_settings}."
    if in_bulk:
        told += f" Enqueued with {system.bulk}." if system.bulk else " Enqueued one by one: it has no bulk way."
    return told


if __name__ == "__main__":
    main()
