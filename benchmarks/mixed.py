"""
How long does a short job wait where long ones run, while a thread is free?

Jobs of one millisecond and of two seconds come at random moments to two processes of four threads; there are never
more than six long ones at once. They are jobs of two tasks, or of one whose argument decides. The delay counts from
the return of `enqueue` to the first line. Only jobs count that were enqueued while, by what became of the others, a
thread was free; a job that waits holds none.

    python benchmarks/mixed.py --seconds 60
"""

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jobs
from clients import Client
from figures import Report, percentile
from stores import chosen, parser_of, settings_of, store
from workers import started_worker

BAR = 50
SHORT, LONG = 0.001, 2.0  # seconds
LONG_SHARE = 0.3  # how often a long one follows a short one, where it may
MARGIN = 0.2  # seconds for which a long one may wait without being taken for one that has ended
TASKS = {"two tasks": ("last", "last_longer"), "one task": ("last", "last")}
COLUMNS = ("store", "tasks", "short", "p50 ms", "p99 ms", "bar", "long", "p99 ms of the long", "not counted")


class Sent(NamedTuple):
    """A job, when its enqueue returned (nanoseconds since the epoch), and how many seconds it lasts."""

    id: str
    returned_at: int
    lasts: float


class Run(NamedTuple):
    """A job that has run: when it was there, when it began, and when it ended, in seconds since the epoch."""

    sent_at: float
    began_at: float
    ended_at: float
    is_long: bool

    @property
    def delay(self) -> float:
        """In milliseconds."""
        return (self.began_at - self.sent_at) * 1000


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=30, help="short jobs per second")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--long", type=int, default=6, help="long jobs at once")
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    flags = ("--threads", str(options.threads))
    for name in chosen(options):
        for tasks, names in TASKS.items():
            with (
                store(name) as place,
                started_worker(place, processes=options.processes, flags=flags),
                Client(place) as client,
            ):
                client.do(jobs.run_one)
                sent = client.do(send, *names, options.rate, options.long, options.seconds)
                begins = client.do(jobs.results, [each.id for each in sent])
            report.add({"store": name, "tasks": tasks} | row_of(sent, begins, options))
    report.save(options.json)


def send(short: str, long: str, rate: float, most: int, seconds: float) -> list[Sent]:
    """Enqueue short jobs at random moments, and a long one with some of them; in the client."""
    sent: list[Sent] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(random.expovariate(rate))
        sent.append(enqueued(short, SHORT))
        busy_since = time.time_ns() - (LONG + MARGIN) * 1e9
        has_room = sum(each.lasts == LONG and each.returned_at > busy_since for each in sent[-1000:]) < most
        if has_room and random.random() < LONG_SHARE:
            sent.append(enqueued(long, LONG))
    return sent


def enqueued(name: str, lasts: float) -> Sent:
    result = jobs.task(name).enqueue(lasts)
    return Sent(result.id, time.time_ns(), lasts)


def row_of(sent: Sequence[Sent], begins: dict[str, int], options: Any) -> dict[str, Any]:
    runs = []
    for job in sent:
        began_at = begins[job.id] / 1e9
        runs.append(Run(job.returned_at / 1e9, began_at, began_at + job.lasts, job.lasts == LONG))
    threads = options.processes * options.threads
    counted = [run for run in runs if running_at(run.sent_at, runs) < threads]
    short, long = ([run.delay for run in counted if run.is_long == is_long] for is_long in (False, True))
    return {
        "short": len(short),
        "p50 ms": percentile(short, 0.5),
        "p99 ms": percentile(short, 0.99),
        "bar": BAR,
        "long": len(long),
        "p99 ms of the long": percentile(long, 0.99),
        "not counted": len(runs) - len(counted),
    }


def running_at(moment: float, runs: Sequence[Run]) -> int:
    return sum(run.began_at <= moment < run.ended_at for run in runs)


if __name__ == "__main__":
    main()
