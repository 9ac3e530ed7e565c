"""
Answers every question of this folder one after the other, and keeps the answers in benchmarks/results/.

Peers come from PyPI, servers are private. All of it takes most of a day on two cores; `--quick` asks the same with
few jobs and one round, in about half an hour, to see that everything runs: its figures mean nothing. What has an
answer already is left out unless `--again` is given, so that a run that was cut off can go on.

    python benchmarks/bench.py
    python benchmarks/bench.py --only idle_cost --only steady --again
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STORES = ("postgresql", "sqlite", "mariadb", "redis")


class Question(NamedTuple):
    """A script with its arguments, and those with which it is quick; `name` is that of its answer."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


def drains(job: str) -> list[Question]:
    return [
        Question(
            f"drain-{store}-{job}",
            "drain_peers",
            ("--store", store, "--job", job, *(() if job == "noop" else ("--bulk",))),
            ("--jobs", "2000", "--rounds", "1", "--bulk"),
        )
        for store in STORES
    ]


LITTLE = (
    *("--ready", "60000", "--finished", "100000", "--redis-finished", "20000", "--held", "60000", "--edge", "10000"),
    *("--seconds", "1", "--pairs", "1", "--deferred", "10000", "--unknown", "10000"),
)
QUESTIONS = [
    *drains("noop"),
    Question("enqueue", "enqueue", (), ("--pairs", "4", "--bulk-pairs", "3", "--writer-pairs", "1")),
    Question(
        "enqueue-1kB", "enqueue", ("--size", "1000"), ("--pairs", "4", "--bulk-pairs", "3", "--writer-pairs", "1")
    ),
    Question("idle-start", "idle_start", (), ("--jobs", "5", "--pause", "1", "2")),
    Question("steady", "steady", (), ("--seconds", "4")),
    Question("idle-cost", "idle_cost", (), ("--seconds", "10")),
    Question("crowd", "crowd", (), ("--jobs", "20000", "--seconds", "1", "--pairs", "1")),
    Question("large-tables", "large_tables", (), LITTLE),
    Question(
        "large-tables-postgresql",
        "large_tables",
        ("--store", "postgresql", "--skip", "unknown", "--skip", "deferred"),
        LITTLE,
    ),
    Question("mixed", "mixed", (), ("--seconds", "8")),
    Question("weight", "weight", (), ("--jobs", "3000", "--starts", "2")),
    *drains("kilobyte"),
    *drains("query"),
    *drains("async_noop"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help=", ".join(each.name for each in QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="few jobs, one round; answers go to results/quick/")
    parser.add_argument("--again", action="store_true", help="also what has been answered")
    options = parser.parse_args()
    folder = RESULTS / "quick" if options.quick else RESULTS
    asked = [each for each in QUESTIONS if not options.only or each.name in options.only]
    failed = []
    for number, question in enumerate(asked, start=1):
        answer = folder / f"{question.name}.json"
        if answer.exists() and not options.again:
            continue
        print(f"\n=== {question.name}, {number} of {len(asked)}, {time.strftime('%H:%M')}", flush=True)
        arguments = [*question.arguments, *(question.quick if options.quick else ())]
        command = [sys.executable, HERE / f"{question.script}.py", *arguments, "--json", answer]
        if subprocess.run(command).returncode:
            answer.unlink(missing_ok=True)  # it may be half of one
            failed.append(question.name)
    if failed:
        sys.exit(f"No answer to: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
