"""
What does a worker feel of everything that lies in its tables?

Lines: drains of one worker process with many ready jobs beside many finished ones, and with jobs of unknown tasks at
the head, each in turn with drains of a small table on a server of its own. Looks: a claim that finds nothing, with
many deferred jobs and without, in turn. On PostgreSQL moreover: a REPEATABLE READ transaction is held open while jobs
are drained, and what the last ones cost is compared with the first. Redis holds all of it in memory, so it gets fewer
finished jobs.

    python benchmarks/large_tables.py --ready 1000000 --finished 5000000
    python benchmarks/large_tables.py --ready 60000 --finished 100000 --held 60000 --edge 10000 --seconds 1 --pairs 2
"""

import statistics
import sys
import time
from bisect import bisect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import jobs
import tables
from clients import Client
from figures import Report
from stores import Store, chosen, parser_of, settings_of, store
from turns import in_turn
from workers import drain, server_cpu_seconds, started_worker

RATE_BAR, LOOK_BAR, HELD_BAR = 0.8, 1.0, 1.5
COLUMNS = ("store", "what", "small", "large", "ratio", "bar")
UNKNOWN_TASKS = 5
LOOKS = 1000


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--ready", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=5_000_000)
    parser.add_argument("--redis-finished", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=100_000, help="ready jobs of the small table")
    parser.add_argument("--deferred", type=int, default=100_000)
    parser.add_argument("--unknown", type=int, default=100_000)
    parser.add_argument("--held", type=int, default=1_000_000, help="jobs under the held transaction")
    parser.add_argument("--edge", type=int, default=50_000, help="of these, how many are the first and the last")
    parser.add_argument("--seconds", type=float, default=3, help="of each drain")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--skip", action="append", default=[], choices=list(QUESTIONS))
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    for name in chosen(options):
        for question, ask in QUESTIONS.items():
            if question not in options.skip and (question != "held" or name == "postgresql"):
                report.add({"store": name} | ask(name, options))
    report.save(options.json)


# Drains.


def many_rows(name: str, options: Any) -> dict[str, Any]:
    finished = options.redis_finished if name.startswith("redis") else options.finished
    with ExitStack() as stack:
        small, large = places(name, stack)
        fill(*large, ("ready", options.ready), ("succeeded", finished))
        row = compare_drains(small, large, options)
    return row | {"what": f"drain /s with {options.ready:,} ready and {finished:,} finished jobs"}


def unknown_tasks(name: str, options: Any) -> dict[str, Any]:
    with ExitStack() as stack:
        small, large = places(name, stack)
        each = options.unknown // UNKNOWN_TASKS
        unknown = [("ready", each, f"gone.tasks.number{number}", tables.HOUR) for number in range(UNKNOWN_TASKS)]
        fill(*large, *unknown)
        row = compare_drains(small, large, options)
    return row | {"what": f"drain /s behind {options.unknown:,} jobs of {UNKNOWN_TASKS} unknown tasks"}


def places(name: str, stack: ExitStack) -> list[tuple[Store, Client]]:
    """Return two places of one kind, each with a client: one to stay small and one to fill."""
    found = []
    for _ in range(2):
        place = stack.enter_context(store(name))
        found.append((place, stack.enter_context(Client(place))))
    return found


def fill(place: Store, client: Client, *rows: Any) -> None:
    for each in rows:
        client.do(tables.fill, *each)
    client.do(tables.settle)


def compare_drains(small: tuple[Store, Client], large: tuple[Store, Client], options: Any) -> dict[str, Any]:
    """Drain a part of each in turn; both get as many jobs before as a drain could need."""
    pairs = []
    for number in range(options.pairs):
        rates = {}
        for which in in_turn((0, 1), number):
            place, client = (small, large)[which]
            fill(place, client, ("ready", options.small))
            rates[which] = drain(place, client, options.seconds).rate
        pairs.append((rates[0], rates[1]))
    return row_of(pairs) | {"bar": RATE_BAR}


def row_of(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    small, large = map(statistics.median, zip(*pairs, strict=True))
    return {"small": small, "large": large, "ratio": [large / small for small, large in pairs]}


# Looks.


def deferred_jobs(name: str, options: Any) -> dict[str, Any]:
    # On one server: two of them, even two that are empty, can differ by half, by the cores that they are on.
    pairs = []
    with store(name) as place, Client(place) as client:
        for number in range(options.pairs):
            took = {}
            for deferred in in_turn((0, options.deferred), number):
                client.do(jobs.clear)
                fill(place, client, ("deferred", deferred))
                took[deferred] = client.do(look)
            pairs.append((took[0], took[options.deferred]))
    what = f"µs of an idle claim with {options.deferred:,} deferred jobs and without"
    return row_of(pairs) | {"what": what, "bar": LOOK_BAR}


def look() -> float:
    """Return the µs of a claim that finds nothing; in the client."""
    broker, took = jobs.broker(), []
    for _ in range(LOOKS):
        began = time.perf_counter()
        found = broker.claim("worker", ["default"], 8)
        took.append((time.perf_counter() - began) * 1e6)
        assert not found
    return statistics.median(took)


# A held transaction.


def held_transaction(name: str, options: Any) -> dict[str, Any]:
    """Return the CPU of worker and server per job, of the first jobs and of the last."""
    with store(name) as place, Client(place) as client, Client(place) as holder:
        last = client.do(tables.fill, "ready", options.held)
        client.do(tables.settle)
        holder.do(hold)
        samples = []
        with started_worker(place) as worker:
            while not client.do(jobs.have_ended, [last]):  # to count the others would be work for the server
                worker.check()
                samples.append((time.time(), worker.cpu_seconds() + server_cpu_seconds(place)))
                time.sleep(0.5)
            client.do(jobs.wait_until_done)
            samples.append((time.time(), worker.cpu_seconds() + server_cpu_seconds(place)))
        ends = client.do(moments, [options.edge // 10, options.edge, options.held - options.edge, options.held - 1])
    if len(samples) < 4:
        sys.exit("The drain was over at once; try with more jobs.")
    # The first tenth of the first ones is left out, as the worker is still starting.
    shares = (options.edge - options.edge // 10, options.edge)
    spent = [cpu_at(samples, until) - cpu_at(samples, since) for since, until in (ends[:2], ends[2:])]
    first, last = (cpu / number * 1e6 for cpu, number in zip(spent, shares, strict=True))
    what = f"CPU µs per job under a held transaction, first and last {options.edge:,} of {options.held:,}"
    return row_of([(first, last)]) | {"what": what, "bar": HELD_BAR}


def hold() -> None:
    """Begin a transaction that sees the store as it is now, and leave it open; in the client."""
    from django.db import connections

    connection = connections["default"]
    connection.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM mainspring_job")


def moments(places: Sequence[int]) -> list[float]:
    """Return when the jobs ended that ended at these places of the order; in the client."""
    from django.db import connections

    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT finished_at FROM mainspring_finished ORDER BY finished_at")
        found = [moment / 1e6 for (moment,) in cursor.fetchall()]
    return [found[place] for place in places]


def cpu_at(samples: Sequence[tuple[float, float]], moment: float) -> float:
    """Return how much CPU had been taken at a moment between two samples."""
    after = min(max(bisect(samples, (moment, 0.0)), 1), len(samples) - 1)
    (at, cpu), (later, more) = samples[after - 1 : after + 1]
    return cpu + (more - cpu) * (moment - at) / (later - at)


QUESTIONS = {"rows": many_rows, "unknown": unknown_tasks, "deferred": deferred_jobs, "held": held_transaction}


if __name__ == "__main__":
    main()
