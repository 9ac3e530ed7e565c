"""
How long does a job wait for an idle worker?

From the return of `enqueue`, and from its call, to the first line of the task, which notes the time itself. Workers
of all stores idle at the same time, each started by the command with nothing but its defaults, and one job at a time
goes to one of them: each gets its jobs after random pauses, so that nothing stays warm by chance. Whoever enqueues has
slept just as long. Between two jobs the benchmark sleeps until a moment, and how late it wakes up is shown beside: no
worker can do better than the timer of its machine.

    python benchmarks/idle_start.py --jobs 100
    python benchmarks/idle_start.py --jobs 20 --pause 1 3 --store postgresql
"""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jobs
from clients import Client
from figures import Report, percentile
from stores import chosen, parser_of, settings_of, store
from workers import started_worker

BARS = {"postgresql": (3, 15), "sqlite": (8, 25), "mariadb": (5, 30), "redis": (1.5, 6)}  # p50 and p99
PARTS = {"p50": 0.5, "p99": 0.99}
COLUMNS = (
    *("store", "jobs", "p50 ms from the return", "bar p50", "p99 ms from the return", "bar p99"),
    *("p50 ms from the call", "p99 ms from the call"),
)
APART = 0.3  # seconds between two jobs, of whatever stores


class Sent(NamedTuple):
    """A job, and when its enqueue was called and returned, in nanoseconds since the epoch."""

    id: str
    called_at: int
    returned_at: int


@dataclass
class Line:
    """One store with an idle worker, and when the next job is to be sent there."""

    name: str
    client: Client
    next_at: float
    sent: list[Sent] = field(default_factory=list)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="for each store")
    parser.add_argument("--pause", type=float, nargs=2, default=(5.0, 15.0), metavar=("FROM", "TO"), help="seconds")
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    with ExitStack() as stack:
        lines = [line_of(name, options.pause, stack) for name in chosen(options)]
        lateness = send_all(lines, options.jobs, options.pause)
        for line in lines:
            report.add(row_of(line))
    report.add({"store": "a bare timer", "jobs": len(lateness)} | percentiles(lateness, "return"))
    report.save(options.json)


def line_of(name: str, pause: Sequence[float], stack: ExitStack) -> Line:
    place = stack.enter_context(store(name))
    stack.enter_context(started_worker(place))
    client = stack.enter_context(Client(place))
    client.do(jobs.run_one, "moment")
    return Line(name, client, time.monotonic() + random.uniform(*pause))


def send_all(lines: Sequence[Line], number: int, pause: Sequence[float]) -> list[float]:
    """Send so many jobs to each store; return how late, in ms, each moment was met at which one was to be sent."""
    lateness = []
    while waiting := [line for line in lines if len(line.sent) < number]:
        line = min(waiting, key=lambda line: line.next_at)
        at = max(line.next_at, time.monotonic() + APART)
        time.sleep(at - time.monotonic())
        lateness.append((time.monotonic() - at) * 1000)
        line.sent.append(line.client.do(send))
        line.next_at = time.monotonic() + random.uniform(*pause)
    time.sleep(2)  # for the last one
    return lateness


def send() -> Sent:
    """Enqueue one job; in the client."""
    task = jobs.task("moment")
    called_at = time.time_ns()
    result = task.enqueue()
    returned_at = time.time_ns()
    time.sleep(0.1)  # or the benchmark would work beside the worker as soon as it hears of this
    return Sent(result.id, called_at, returned_at)


def row_of(line: Line) -> dict[str, Any]:
    begins = line.client.do(jobs.results, [sent.id for sent in line.sent])
    since_return = [(begins[sent.id] - sent.returned_at) / 1e6 for sent in line.sent]
    since_call = [(begins[sent.id] - sent.called_at) / 1e6 for sent in line.sent]
    bars = dict(zip(("bar p50", "bar p99"), BARS[line.name.partition("-")[0]], strict=True))
    row = {"store": line.name, "jobs": len(line.sent)}
    return row | bars | percentiles(since_return, "return") | percentiles(since_call, "call")


def percentiles(delays: Sequence[float], since: str) -> dict[str, float]:
    return {f"{name} ms from the {since}": percentile(delays, part) for name, part in PARTS.items()}


if __name__ == "__main__":
    main()
