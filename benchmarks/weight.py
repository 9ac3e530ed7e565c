"""
How much memory does a worker process take, and how long does a worker need to start?

PSS of each process that runs jobs, after many jobs and after as many again, beside a bare process of the same project
that has done `django.setup()` and one query, or on Redis a PING. Both are read while both live, since what they share
is divided among them. The start of the command counts until a process of it says that it is ready, that of a bare
process until it has done `django.setup()`; they take turns.

    python benchmarks/weight.py --jobs 100000
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jobs
from clients import Client
from figures import Report
from stores import Store, chosen, parser_of, settings_of, store
from turns import in_turn
from workers import started_worker

WEIGHT_BAR, GROWTH_BAR, START_BAR = 1.25, 0, 1.0
COLUMNS = ("store", "what", "bare", "worker", "figure", "bar")
SET_UP = "import django; django.setup(); print('ready', flush=True); "
QUERY = "from django.db import connection; connection.cursor().execute('SELECT 1'); "
PING = "import redis; client = redis.Redis.from_url('{}'); client.ping(); "
STAY = "print('asked', flush=True); input()"
MEGABYTE = 1024 * 1024


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    for name in chosen(options):
        with store(name) as place:
            for row in (*memory(place, options.jobs, options.processes), start(place, options.starts)):
                report.add({"store": name} | row)
    report.save(options.json)


def memory(place: Store, number: int, processes: int) -> Iterator[dict[str, object]]:
    with Client(place) as client, started_worker(place, processes=processes) as worker, bare(place) as bare_pid:
        run_jobs(client, number)
        alone, weights = pss(bare_pid), [pss(pid) for pid in worker.children]
        yield {
            "what": f"PSS MB after {number:,} jobs, ratio",
            "bare": alone,
            "worker": weights,
            "figure": [weight / alone for weight in weights],
            "bar": WEIGHT_BAR,
        }
        run_jobs(client, number)
        later = [pss(pid) for pid in worker.children]
        growth = [after - before for before, after in zip(weights, later, strict=True)]
        yield {"what": f"MB more after {number:,} more", "worker": later, "figure": growth, "bar": GROWTH_BAR}


def run_jobs(client: Client, number: int) -> None:
    client.do(jobs.enqueue, "noop", number)
    client.do(jobs.wait_until_done)


@contextmanager
def bare(place: Store) -> Iterator[int]:
    """Give the number of a process that has Django, and has asked the store once."""
    url = place.environment["BENCHMARK_REDIS"]
    process = started(place, SET_UP + (PING.format(url) if url else QUERY) + STAY, stdin=subprocess.PIPE)
    try:
        wait_for(process, "asked")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def start(place: Store, number: int) -> dict[str, object]:
    """Return how many seconds longer the command takes to be ready than a bare process."""
    pairs = []
    for turn in range(number):
        took = {way: way(place) for way in in_turn((bare_start, worker_start), turn)}
        pairs.append((took[bare_start], took[worker_start]))
    alone, worker = map(statistics.median, zip(*pairs, strict=True))
    longer = [worker - alone for alone, worker in pairs]
    return {"what": "s to start, difference", "bare": alone, "worker": worker, "figure": longer, "bar": START_BAR}


def bare_start(place: Store) -> float:
    began = time.monotonic()
    process = started(place, SET_UP)
    wait_for(process, "ready")
    took = time.monotonic() - began
    process.communicate()
    return took


def worker_start(place: Store) -> float:
    began = time.monotonic()
    process = started(place, "-m", "django", "mainspring", "worker")
    wait_for(process, "is ready")
    took = time.monotonic() - began
    process.terminate()
    process.communicate()
    return took


def started(place: Store, *arguments: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    """Start Python with these arguments, or with code if there is but one; what it says can be read from `stdout`."""
    return subprocess.Popen(
        [sys.executable, *(arguments if len(arguments) > 1 else ("-c", *arguments))],
        env=os.environ | place.environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    said: list[str] = []
    while not said or word not in said[-1]:
        said.append(process.stdout.readline())
        if not said[-1]:
            sys.exit(f"A process has ended:\n{''.join(said)}")


def pss(pid: int) -> float:
    """Return the memory of a process in MB, of what it shares its part."""
    lines: Sequence[str] = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")) / MEGABYTE


if __name__ == "__main__":
    main()
