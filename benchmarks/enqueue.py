"""
What does an enqueue cost on top of the bare write that it needs?

One by one: `task.enqueue()` against an INSERT of the same row by Django's cursor, on Redis against an EVALSHA of the
broker's own script with the same keys and values, sent and read on a bare connection. No worker runs. CPU is that of
the client's thread.

In bulk: `enqueue_many` of a thousand, with results and signals, against one `executemany` of the same rows in one
transaction; on Redis against a pipeline that does nothing for a job but HSET its record, and, without a bar, against a
transaction of HSET and the two ZADD that put the job in line.

On PostgreSQL moreover: sixteen writers at once while an idle worker listens, which is called to a queue where it finds
nothing, against the same writers when they do not call. All ways take turns, and are compared within each pair.

    python benchmarks/enqueue.py
    python benchmarks/enqueue.py --size 1000 --store postgresql
    python benchmarks/enqueue.py --size 1000 --same --store redis
"""

import secrets
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jobs
from clients import Client
from figures import Report
from raw import raw_of
from stores import Store, chosen, parser_of, settings_of, store
from turns import in_turn
from workers import started_worker

CPU_BARS = {"postgresql": 120, "sqlite": 60, "mariadb": 120, "redis": 60}
BULK_BARS = {"postgresql": 0.3, "sqlite": 0.15, "mariadb": 0.3, "redis": 0.3}
WAKE_BAR = 0.8
COLUMNS = ("store", "what", "raw", "ours", "difference or ratio", "bar")
BULK = 1000


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--size", type=int, default=0, help="bytes of argument; 0 is a task without any")
    parser.add_argument("--same", action="store_true", help="the same argument for every call of a block")
    parser.add_argument("--pairs", type=int, default=40, help="pairs of blocks of single enqueues")
    parser.add_argument("--block", type=int, default=100, help="enqueues in a block")
    parser.add_argument("--bulk-pairs", type=int, default=15)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--writer-seconds", type=float, default=2.0)
    parser.add_argument("--writer-pairs", type=int, default=5)
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    for name in chosen(options):
        with store(name) as place:
            with Client(place) as client:
                for row in client.do(one_by_one, options.size, options.same, options.pairs, options.block):
                    bar = CPU_BARS[place.kind] if "CPU" in row["what"] else None
                    report.add({"store": name, **row, "bar": bar})
                for row in client.do(in_bulk, options.size, options.same, options.bulk_pairs):
                    bar = None if "ZADD" in row["what"] else BULK_BARS[place.kind]
                    report.add({"store": name, **row, "bar": bar})
            if name == "postgresql":
                add_wake_ups(place, report, options)
    report.save(options.json)


# In the client.


def one_by_one(size: int, same: bool, pairs: int, block: int) -> list[dict[str, Any]]:
    """Return the rows for CPU and for wall time, in µs per enqueue."""
    task, raw = task_for(size), raw_of(jobs.broker())
    task.enqueue(*calls_of(size, 1)[0])  # what is loaded at the first one is not what one costs
    ways = {
        "raw": lambda rows, calls: [raw.send(row) for row in rows],
        "ours": lambda rows, calls: [task.enqueue(*call) for call in calls],
    }
    cpu, wall = [], []
    for number in range(pairs):
        took = {}
        for name in in_turn(list(ways), number):
            calls = calls_of(size, block, same)
            rows = [raw.prepare(job) for job in new_jobs(task, calls)]
            began = time.thread_time(), time.perf_counter()
            ways[name](rows, calls)
            took[name] = time.thread_time() - began[0], time.perf_counter() - began[1]
        for figures, pair in zip((cpu, wall), zip(took["raw"], took["ours"], strict=True), strict=True):
            figures.append([seconds / block * 1e6 for seconds in pair])
        jobs.clear()
    return [above("one by one, client CPU µs", cpu), above("one by one, wall µs", wall)]


def in_bulk(size: int, same: bool, pairs: int) -> list[dict[str, Any]]:
    """Return a row for each raw way, in jobs per second."""
    from mainspring import enqueue_many

    task, raw = task_for(size), raw_of(jobs.broker())
    rows = []
    for what, send in raw.in_bulk.items():
        ways = {
            "raw": lambda rows, calls, send=send: send(rows),
            "ours": lambda rows, calls: enqueue_many(task, calls),
        }
        figures = []
        for number in range(pairs + 1):
            rates = {}
            for name in in_turn(list(ways), number):
                calls = calls_of(size, BULK, same)
                prepared = [raw.prepare(job) for job in new_jobs(task, calls)]
                began = time.perf_counter()
                ways[name](prepared, calls)
                rates[name] = BULK / (time.perf_counter() - began)
            figures.append([rates["raw"], rates["ours"]])
            jobs.clear()
        rows.append(beside(f"{what}, jobs/s", figures[1:]))  # the first pair has to load things
    return rows


def task_for(size: int) -> Any:
    return jobs.task("take" if size else "noop")


def calls_of(size: int, number: int, same: bool = False) -> list[tuple[str, ...]]:
    """Return the arguments of so many calls, each of this size and random, or a store could compress them."""
    texts = [secrets.token_hex(size // 2) for _ in range(1 if same else number)]
    return [(text,) if size else () for text in (texts * number)[:number]]


def new_jobs(task: Any, calls: Sequence[tuple[str, ...]]) -> list[Any]:
    return list(task.get_backend()._jobs(task, [(call, {}) for call in calls]))


def above(what: str, pairs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return a row of medians that shows how much ours takes above raw, within each pair."""
    return _row(what, pairs, [ours - raw for raw, ours in pairs])


def beside(what: str, pairs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return a row of medians that shows the ratio of ours to raw, within each pair."""
    return _row(what, pairs, [ours / raw for raw, ours in pairs])


def _row(what: str, pairs: Sequence[Sequence[float]], compared: list[float]) -> dict[str, Any]:
    raw, ours = map(statistics.median, zip(*pairs, strict=True))
    return {"what": what, "raw": raw, "ours": ours, "difference or ratio": compared}


# Many writers.


def add_wake_ups(place: Store, report: Report, options: Any) -> None:
    """Add the rows for writers that are processes, and for those that are threads of one process."""
    listening = replace(place, environment=place.environment | {"BENCHMARK_QUEUES": "default,idle"})
    with started_worker(listening, flags=("--queues", "idle")), ExitStack() as stack:
        clients = [stack.enter_context(Client(place)) for _ in range(options.writers)]
        for what, some, threads in (
            (f"{options.writers} processes", clients, 1),
            (f"{options.writers} threads of one process", clients[:1], options.writers),
        ):
            figures = []
            for number in range(options.writer_pairs):
                took = {}
                for calls in in_turn((False, True), number):
                    took[calls] = written(some, threads, calls, options)
                    clients[0].do(jobs.clear)
                figures.append([took[False], took[True]])
            row = beside(f"{what} beside a listener, calls off and on, jobs/s", figures)
            report.add({"store": place.name, **row, "bar": WAKE_BAR})


def written(clients: Sequence[Client], threads: int, calls: bool, options: Any) -> float:
    """Return how many jobs per second are enqueued by all."""
    starts_at = time.time() + 0.5
    each = [
        client.begin(write_in_threads, threads, starts_at, options.writer_seconds, calls, options.size)
        for client in clients
    ]
    return sum(number.result() for number in each) / options.writer_seconds


def write_in_threads(threads: int, starts_at: float, seconds: float, calls: bool, size: int) -> int:
    broker = jobs.broker()
    if not calls:
        broker.wake = lambda: None
    numbers: list[int] = []
    writers = [
        threading.Thread(target=lambda: numbers.append(write(starts_at, seconds, size))) for _ in range(threads)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    vars(broker).pop("wake", None)
    return sum(numbers)


def write(starts_at: float, seconds: float, size: int) -> int:
    """Enqueue one by one from this time on for so long; return how many it were."""
    from django.db import connections

    task, [arguments] = task_for(size), calls_of(size, 1)
    connections["default"].ensure_connection()
    time.sleep(max(starts_at - time.time(), 0.0))
    number = 0
    while time.time() < starts_at + seconds:
        task.enqueue(*arguments)
        number += 1
    connections.close_all()
    return number


if __name__ == "__main__":
    main()
