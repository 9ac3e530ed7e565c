"""
How long does a job wait while jobs keep coming, 500 a second?

A client enqueues by a timer, and the task notes the time in its first line. The delay counts from the return of
`enqueue`. Beside it stands by how much the client's own timer was late, where it was waited for. Where an enqueue
takes longer than its share of a second the client falls behind, which shows in how many it sent. The first second
does not count.

    python benchmarks/steady.py --seconds 20
"""

import time
from typing import Any, NamedTuple

import jobs
from clients import Client
from figures import Report, percentile
from stores import chosen, parser_of, settings_of, store
from workers import started_worker

BARS = {"postgresql": 20, "sqlite": 30, "mariadb": 40, "redis": 10}
COLUMNS = ("store", "sent /s", "p50 ms", "p99 ms", "bar", "the timer's p99 ms")
WARM_UP = 1.0  # seconds


class Stream(NamedTuple):
    """Jobs with the moment, in nanoseconds, at which their enqueue returned, and by how many ms the timer was late."""

    returned_at: dict[str, int]
    lateness: list[float]
    rate: float


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rate", type=int, default=500, help="jobs per second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    for name in chosen(options):
        with store(name) as place, started_worker(place, processes=options.processes), Client(place) as client:
            client.do(jobs.run_one, "moment")
            client.do(send, options.rate, WARM_UP)
            stream = client.do(send, options.rate, options.seconds)
            begins = client.do(jobs.results, list(stream.returned_at))
        report.add(row_of(name, stream, begins))
    report.save(options.json)


def send(rate: int, seconds: float) -> Stream:
    """Enqueue so many jobs a second; in the client."""
    task, number = jobs.task("moment"), round(rate * seconds)
    returned_at, lateness, began = {}, [], time.monotonic()
    for nth in range(number):
        at = began + nth / rate
        if (pause := at - time.monotonic()) > 0:
            time.sleep(pause)
            lateness.append((time.monotonic() - at) * 1000)
        result = task.enqueue()
        returned_at[result.id] = time.time_ns()
    return Stream(returned_at, lateness, number / (time.monotonic() - began))


def row_of(name: str, stream: Stream, begins: dict[str, int]) -> dict[str, Any]:
    delays = [(begins[id] - at) / 1e6 for id, at in stream.returned_at.items()]
    return {
        "store": name,
        "sent /s": stream.rate,
        "p50 ms": percentile(delays, 0.5),
        "p99 ms": percentile(delays, 0.99),
        "bar": BARS[name.partition("-")[0]],
        "the timer's p99 ms": percentile(stream.lateness, 0.99) if stream.lateness else None,
    }


if __name__ == "__main__":
    main()
