"""
What saturates first with 10, 50 and 200 worker processes at one PostgreSQL, or at one Redis?

A simulation from what `costs.py` has measured. First it says what it expects of one and two processes on this machine,
with two processors for all, beside what was measured here. The same seed gives the same figures.

    python benchmarks/simulate.py --json benchmarks/results/simulation.json
"""

import argparse
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

from figures import Report, percentile
from simulation.events import Events, Processors
from simulation.stores import Costs, Line, PostgreSQL, Redis
from simulation.workers import SECOND, Command, Habits, Process, Site

LENGTHS = (0, 10, 100)  # milliseconds
WORKERS = (10, 50, 200)
PROCESSORS = (8, 16, 32)
RATES = (100, 1000, 4000)
ROUND_TRIP = 300  # microseconds, between two machines of one data centre
SYNC = 500  # microseconds, until a commit is on a disk of such a machine
SPEED = 500  # bytes a microsecond, which are megabytes a second, that it can write
SITE = 8  # processes that enqueue
BACKLOG = 10_000
SETTLES_IN = 3.0  # seconds that are not counted
NAMES = {"postgresql": "PostgreSQL", "redis": "Redis"}
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Case:
    """
    What is simulated.

    With `rate` so many jobs a second are enqueued one by one, else there are always BACKLOG more. With `shared` the
    workers have no processors of their own but share the server's.
    """

    store: str
    workers: int
    length: float  # milliseconds
    processors: int = 1
    threads: int = 4
    has_async: bool = True
    flush_after: float = 0.010  # seconds
    each_command: int = 8  # processes of one worker command
    rate: float = 0.0
    round_trip: float = ROUND_TRIP
    sync: float = SYNC
    vacuum_every: float = 60.0  # seconds
    shared: bool = False
    seed: int = 1
    seconds: float = 5.0


def run(case, costs):
    """Return the figures of one case."""
    chance, events = random.Random(case.seed), Events()
    line = Line(events, 0 if case.rate else BACKLOG)
    server = Processors(events, case.processors)
    machine = server if case.shared else Processors(events, None)
    if case.store == "postgresql":
        store = PostgreSQL(
            events,
            costs[case.store],
            line,
            round_trip=case.round_trip,
            processors=server,
            sync=case.sync,
            speed=SPEED,
            unvacuumed=int(case.rate * case.vacuum_every / 2),
        )
    else:
        store = Redis(events, costs[case.store], line, round_trip=case.round_trip, processors=server)
    delays, commands, processes = [], [], []
    habits = habits_of(case, costs[case.store])
    for number in range(case.workers):
        if number % case.each_command == 0:
            commands.append(Command(events, store))
        process = Process(events, store, machine, habits, commands[-1], delays.append)
        commands[-1].processes.append(process)
        processes.append(process)
        events.after(chance.uniform(0, 0.1 * SECOND), process.wake)  # not all at once, or they would go on in step
    if case.rate:
        Site(events, store, commands, chance, processes=SITE, rate=case.rate)

    def counters():
        ended = sum(process.jobs_ended for process in processes)
        python = sum(process.python.busy for process in processes)
        server, log = store.spent()
        calls = sum(store.calls.values())
        return {"ended": ended, "python": python, "server": server, "log": log, "calls": calls, **store.calls}

    events.run(SETTLES_IN * SECOND)
    before = counters()
    delays.clear()
    events.run((SETTLES_IN + case.seconds) * SECOND)
    spent = {name: value - before.get(name, 0) for name, value in counters().items()}
    return figures(case, spent, delays)


def figures(case, spent, delays):
    ended, time = max(spent["ended"], 1), case.seconds * SECOND
    in_vain = spent.get("claim in vain", 0) + spent.get("look past", 0)
    claims = spent.get("claim", 0) + in_vain
    found = {
        "jobs/s": spent["ended"] / case.seconds,
        "server %": 100 * spent["server"] / (time * case.processors),
        "server µs": spent["server"] / ended,
        "log MB/s": spent["log"] / time,
        "processes %": 100 * spent["python"] / (time * case.workers),
        "threads %": 100 * ended * case.length * 1000 / (time * case.workers * case.threads),
        "claims/s": claims / case.seconds,
        "in vain/s": in_vain / case.seconds,
        "calls per job": spent["calls"] / ended,
        "start p50 ms": percentile(delays, 0.5) / 1000 if delays else None,
        "start p99 ms": percentile(delays, 0.99) / 1000 if delays else None,
    }
    return found | {"saturated": saturated(case, found)}


def saturated(case, found):
    """Return what keeps more jobs from being run."""
    if found["server %"] > 90:
        return "the store's processors"
    if case.store == "postgresql" and found["log MB/s"] > 0.8 * SPEED:
        return "the store's disk"
    if found["processes %"] > 90:
        return "the processes"
    if not case.length:
        return "waiting for answers"
    return "the threads" if found["threads %"] > 85 else "threads, which begin one by one"


def habits_of(case, costs):
    run, store = costs.of("run", "client µs"), costs.of("settle and claim", "client µs", 256)
    whole = costs.of("worker, jobs of 0 ms", "client µs")
    return Habits(
        length=case.length * 1000,
        run=run,
        around=max(whole - store - run, 0.0),
        switch=30.0,
        look=30.0,
        threads=case.threads,
        has_async=case.has_async,
        flush_after=case.flush_after * SECOND,
    )


# The tables.


def validation(costs, base, sync):
    compare = ("jobs/s", "server µs", "calls per job")
    columns = [column for name in compare for column in (name, f"simulated {name}")]
    report = Report(
        "What does the simulation expect of this machine, and what was measured?",
        ["store", "jobs", "workers", *columns],
        sync=f"{sync:.0f} µs",
    )
    here = replace(base, processors=2, shared=True, round_trip=0, sync=sync)
    kinds = [(length, workers, {}) for length in LENGTHS for workers in (1, 2)]
    kinds += [(100, 4, {}), (100, 1, {"threads": 16}), (100, 1, {"async": 0})]
    for store in NAMES:
        for length, workers, flags in kinds:
            options = "".join(f", {name}={value}" for name, value in flags.items())
            changes = {"threads": flags.get("threads", 4), "has_async": "async" not in flags}
            case = replace(here, store=store, workers=workers, length=length, each_command=workers, **changes)
            found = costs[store].row(f"worker, jobs of {length} ms{options}", at_once=workers)
            report.add(named(case) | {"jobs": f"{length} ms{options}"} | compared(run(case, costs), found))
        for commands in (1, 4):
            found = costs[store].row("enqueue beside idle commands", at_once=commands)
            rate = 1e6 / found["wall µs"]
            case = replace(here, store=store, workers=commands, each_command=1, rate=rate, seconds=50 / rate)
            report.add(named(case) | {"jobs": "one by one"} | compared(run(case, costs), found))
    return report


def compared(expected, found):
    measured = {
        "jobs/s": 1e6 / found["wall µs"],
        "server µs": found["server µs"],
        "calls per job": found["transactions"],
    }
    return measured | {f"simulated {name}": expected[name] for name in measured}


def cases(base):
    for store, processors in (*(("postgresql", number) for number in PROCESSORS), ("redis", 1)):
        for length in LENGTHS:
            for workers in WORKERS:
                yield replace(base, store=store, processors=processors, length=length, workers=workers)


def named(case):
    return {
        "store": NAMES[case.store],
        "processors": case.processors,
        "jobs": f"{case.length} ms",
        "workers": case.workers,
    }


def throughput(costs, base):
    report = Report(
        "How many jobs a second, and what saturates first?",
        ["store", "processors", "jobs", "workers", "jobs/s", "server %", "server µs", "log MB/s", "claims/s",
         "in vain/s", "processes %", "threads %", "saturated"],
        round_trip=f"{ROUND_TRIP} µs", sync=f"{SYNC} µs", backlog=BACKLOG, seed=base.seed,
    )  # fmt: skip
    for case in cases(base):
        report.add(named(case) | run(case, costs))
    return report


def arrivals(costs, base):
    report = Report(
        "How late do jobs start that are enqueued one by one?",
        ["store", "processors", "jobs", "workers", "enqueued/s", "jobs/s", "server %", "claims/s", "in vain/s",
         "start p50 ms", "start p99 ms"],
        site=f"{SITE} processes", round_trip=f"{ROUND_TRIP} µs", sync=f"{SYNC} µs", seed=base.seed,
    )  # fmt: skip
    for case in cases(base):
        if case.processors in (1, 16) and case.length:
            slots = case.workers * case.threads * 1000 / case.length
            for rate in RATES:
                if rate <= slots * 0.6:  # of more, the delay says only how long it was simulated
                    report.add(named(case) | {"enqueued/s": rate} | run(replace(case, rate=rate), costs))
    return report


CHOICES = {
    "as it comes": {},
    "`async` 0": {"has_async": False},
    "a vacuum every 10 s": {"vacuum_every": 10},
    "25 processes in a command": {"each_command": 25},
    "50 processes of 16 threads": {"workers": 50, "threads": 16},
    "all of these": {"has_async": False, "vacuum_every": 10, "each_command": 25, "workers": 50, "threads": 16},
}
OFTEN = 2000


def choices(costs, base):
    report = Report(
        f"What helps where 200 processes run jobs of 100 ms, {OFTEN} of which are enqueued a second one by one?",
        ["store", "processors", "choice", "server %", "claims/s", "in vain/s", "start p50 ms", "start p99 ms",
         "most/s"],
        site=f"{SITE} processes", round_trip=f"{ROUND_TRIP} µs", sync=f"{SYNC} µs", seed=base.seed,
    )  # fmt: skip
    for store, processors in (("postgresql", 16), ("redis", 1)):
        case = replace(base, store=store, processors=processors, workers=200, length=100)
        for choice, changes in CHOICES.items():
            if store == "postgresql" or "vacuum" not in choice:
                changed = replace(case, **changes)
                found = run(replace(changed, rate=OFTEN), costs)
                # And how many they can run where there is always more.
                found |= {"choice": choice, "most/s": run(changed, costs)["jobs/s"]}
                report.add({"store": NAMES[store], "processors": processors} | found)
    return report


COMMANDS = (1, 8, 25)


def commands(costs, base):
    report = Report(
        "What do 200 processes cost that wait while 20 short jobs a second are enqueued?",
        ["store", "processors", "processes of one command", "claims/s", "in vain/s", "server %", "start p50 ms",
         "start p99 ms"],
        round_trip=f"{ROUND_TRIP} µs", sync=f"{SYNC} µs", seed=base.seed,
    )  # fmt: skip
    for store, processors in (("postgresql", 16), ("redis", 1)):
        for each in COMMANDS:
            case = replace(
                base, store=store, processors=processors, workers=200, length=10, each_command=each, rate=20
            )
            named = {"store": NAMES[store], "processors": processors, "processes of one command": each}
            report.add(named | run(case, costs))
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", default=RESULTS / "costs.json", help="what costs.py has saved (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="simulated, of each case (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="save the figures here, a file for each table: <name>-<table>.json")
    options = parser.parse_args()
    rows = json.loads(Path(options.costs).read_text())["rows"]
    costs = {store: Costs(rows, store) for store in NAMES}
    (sync,) = (row["wall µs"] for row in rows if row["store"] == "disk")
    base = Case(store="postgresql", workers=1, length=0, seed=options.seed, seconds=options.seconds)
    reports = {"validation": validation(costs, base, sync)}
    for table in (throughput, arrivals, choices, commands):
        print()
        reports[table.__name__] = table(costs, base)
    if options.json:
        path = Path(options.json)
        for name, report in reports.items():
            report.save(path.with_stem(f"{path.stem}-{name}"))


if __name__ == "__main__":
    main()
