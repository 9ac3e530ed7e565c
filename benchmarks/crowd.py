"""
What do many processes cost that one would not?

A drain by one and by two processes of a worker, in turn: CPU per job of the worker and of the server, by how much
more it is with two. And twenty idle processes of one thread each that get one new job: how many claims the store sees
within half a second of its enqueue, and how many statements in all, those of the enqueue and of the outcome included.

    python benchmarks/crowd.py --jobs 100000 --seconds 3 --pairs 5
"""

import random
import statistics
import sys
import time
from typing import Any

import jobs
from clients import Client
from figures import Report
from statements import log_of, number_of_claims
from stores import Store, chosen, parser_of, settings_of, store
from turns import in_turn
from workers import drain, started_worker

RISE_BAR, CLAIMS_BAR = 20, 3
COLUMNS = ("store", "what", "one process", "many", "figure", "bar")
POLL = "PRAGMA data_version"  # by which workers hear of jobs on SQLite, whether there are any or not
WINDOW = 0.5  # seconds from an enqueue in which statements count as its own


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="in line when a drain begins")
    parser.add_argument("--seconds", type=float, default=3, help="of each drain")
    parser.add_argument("--pairs", type=int, default=5, help="of drains by one process and by two")
    parser.add_argument("--processes", type=int, default=20, help="that idle")
    parser.add_argument("--single", type=int, default=20, help="single jobs that they get")
    options = parser.parse_args()
    report = Report(__doc__.split("\n")[1], COLUMNS, **settings_of(options))
    for name in chosen(options):
        with store(name) as place:
            report.add({"store": name, "bar": RISE_BAR} | second_process(place, options))
            for row in one_job(place, options):
                report.add({"store": name} | row)
    report.save(options.json)


def second_process(place: Store, options: Any) -> dict[str, Any]:
    """Return by how many per cent CPU per job rises when two processes drain."""
    pairs = []
    with Client(place) as client:
        for number in range(options.pairs):
            cpu = {}
            for processes in in_turn((1, 2), number):
                client.do(jobs.clear)
                client.do(jobs.enqueue, "noop", options.jobs)
                cpu[processes] = drain(place, client, options.seconds, processes).cpu
            pairs.append((cpu[1], cpu[2]))
        client.do(jobs.clear)
    one, two = map(statistics.median, zip(*pairs, strict=True))
    rises = [(two / one - 1) * 100 for one, two in pairs]
    return {"what": "CPU µs per job with two processes, rise in %", "one process": one, "many": two, "figure": rises}


def one_job(place: Store, options: Any) -> list[dict[str, Any]]:
    """Return how many claims, and statements in all, each of the single jobs brought with it."""
    claims, statements = [], []
    with (
        log_of(place) as log,
        Client(place) as client,
        started_worker(place, processes=options.processes, flags=("--threads", "1")),
    ):
        client.do(jobs.run_one)
        for _ in range(options.single):
            time.sleep(random.uniform(1, 2))
            log.take()
            client.do(send)
            asked = log.take()
            claims.append(number_of_claims(asked))
            statements.append(sum(statement.text != POLL for statement in asked))
    if not any(claims):
        sys.exit("No claim was seen at all: the log of the store is not what it was.")
    what = f"for one job at {options.processes} idle processes"
    return [
        {"what": f"claims {what}", "figure": claims, "bar": CLAIMS_BAR},
        {"what": f"statements {what}", "figure": statements},
    ]


def send() -> None:
    """Enqueue one job, and wait for all that follows from it; in the client."""
    jobs.task("noop").enqueue()
    time.sleep(WINDOW)


if __name__ == "__main__":
    main()
