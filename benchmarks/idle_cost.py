"""
What does a worker cost that has nothing to do?

A worker of four processes idles; what the store is asked meanwhile is counted at the server by its text, one message
of a client being one statement. CPU is that of all processes of the worker, of one core. SQLite has no server: there
the CPU counts, also while another process commits to another table of the same database, and the statements are those
of a further, shorter run, as noting them takes time.

    python benchmarks/idle_cost.py --seconds 60
"""

import time
from collections import Counter
from concurrent.futures import Future
from typing import Any

import jobs
from clients import Client
from figures import Report
from statements import counted, log_of
from stores import Store, chosen, parser_of, settings_of, store
from workers import Worker, started_worker

BARS = {"postgresql": 0.2, "mariadb": 0.5, "redis": 0.5}  # statements per second
IDLE_BAR, BESIDE_BAR = 0.5, 2.0  # per cent of a core, on SQLite
COLUMNS = ("store", "what", "figure", "bar")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--settle", type=float, default=6, help="seconds from ready to idle")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--commits", type=int, default=200, help="per second, by another process on SQLite")
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    statements = {}
    for name in chosen(options):
        with store(name) as place:
            statements[name] = measure(place, report, options)
    report.save(options.json)
    for name, (counts, seconds) in statements.items():
        print(f"\n{name}: statements in {seconds:g} s\n")
        for shape, number in counts.most_common():
            print(f"- {number} × `{shape}`")


def measure(place: Store, report: Report, options: Any) -> tuple[Counter[str], float]:
    """Add the rows of one store; return the statements by their shape, and the seconds in which they came."""
    has_server = place.server is not None
    if not has_server:
        _measure_sqlite(place, report, options)
    seconds = options.seconds if has_server else min(options.seconds, 15)
    with log_of(place) as log, started_worker(place, processes=options.processes) as worker:
        time.sleep(options.settle)
        log.take()
        cpu = cpu_percent(worker, seconds)
        counts = counted(log.take())
    if has_server:
        rate = counts.total() / seconds
        report.add({"store": place.name, "what": "statements per second", "figure": rate, "bar": BARS[place.kind]})
        report.add({"store": place.name, "what": "CPU, % of a core", "figure": cpu})
    return counts, seconds


def _measure_sqlite(place: Store, report: Report, options: Any) -> None:
    with Client(place) as client, started_worker(place, processes=options.processes) as worker:
        time.sleep(options.settle)
        cpu = cpu_percent(worker, options.seconds)
        report.add({"store": place.name, "what": "CPU, % of a core", "figure": cpu, "bar": IDLE_BAR})
        commits = client.begin(commit, options.commits, options.seconds + 2)
        time.sleep(1)
        cpu = cpu_percent(worker, options.seconds)
        what = f"CPU beside {done_per_second(commits, options):.0f} commits/s, % of a core"
        report.add({"store": place.name, "what": what, "figure": cpu, "bar": BESIDE_BAR})


def cpu_percent(worker: Worker, seconds: float) -> float:
    """Return how much of a core a worker takes."""
    before = worker.cpu_seconds()
    time.sleep(seconds)
    worker.check()
    return (worker.cpu_seconds() - before) / seconds * 100


def done_per_second(commits: "Future[int]", options: Any) -> float:
    return commits.result() / (options.seconds + 2)


def commit(per_second: int, seconds: float) -> int:
    """Commit to another table so often, each time when it is due; return how many commits there were."""
    from django.db import connections

    connection = connections[jobs.broker().using]
    number, began = 0, time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS other (number integer)")
        while time.monotonic() < began + seconds:
            time.sleep(max(began + number / per_second - time.monotonic(), 0.0))
            cursor.execute("INSERT INTO other VALUES (%s)", [number])
            number += 1
    return number


if __name__ == "__main__":
    main()
