"""
What does a job cost, on each store, and whom?

First the verbs of the broker by themselves, one client with nothing beside it: processor time of the client and of the
server, log, syncs of the disk, and round trips, by the number of jobs in one call. Then the same verbs by several
clients at once, whole workers with jobs of three lengths, and a worker that has nothing to do.

    python benchmarks/costs.py --store postgresql --rounds 3 --json benchmarks/results/costs.json

`simulate.py` reads the file.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time

import psutil
from figures import Report
from meters import Meter, Spent, Turns, cpu
from stores import NAMES, store

PARTS = ("verbs", "at once", "workers", "calls", "idle")
CALLS = {1: 150, 4: 80, 16: 50, 64: 24, 256: 12}  # how many calls of each size
BEHIND = 2000  # jobs that wait behind those that are claimed
IN_THE_WAY = 20_000
BACKLOG = 10_000
SMALL = 6000
AT_ONCE = (2, 4)  # besides one, which is measured with the verbs
LENGTHS = {0: 10_000, 10: 1500, 100: 150}  # milliseconds, and how many jobs for each process
COMMANDS = (1, 4)
ENQUEUES, BETWEEN = 50, 0.15
IDLE = 15.0  # seconds; three heartbeats
CLAIMANT = "costs"
QUEUES = ["default"]

COLUMNS = {
    "client µs": "client",
    "server µs": "server",
    "wall µs": "wall",
    "log bytes": "log",
    "syncs": "syncs",
    "transactions": "transactions",
}


class Bench:
    """A store with Django set up, its broker, and a meter."""

    def __init__(self, owner):
        import django

        django.setup()
        from django.db import connection

        from benchmarks.project import tasks
        from mainspring.compat import task_backends

        self.tasks = tasks
        self.vendor = connection.vendor if not os.environ["BENCHMARK_REDIS"] else "redis"
        self.broker = task_backends["default"].broker
        self.broker.now()
        self.meter = Meter(owner)
        if self.vendor == "redis":
            # Its log is rewritten now and then, by a fork that takes as much as thousands of jobs.
            self.broker._client.command("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)

    def fresh_broker(self):
        """Return a broker that knows nothing of where the line begins."""
        from mainspring.brokers.database.broker import DatabaseBroker

        if self.vendor == "redis":
            return self.broker
        broker = DatabaseBroker("default")
        broker.now()
        return broker

    def fill(self, count, **arguments):
        from mainspring import enqueue_many

        if count:
            enqueue_many(self.tasks.noop, [()] * count)
        self.sql("postgresql", "VACUUM ANALYZE mainspring_job")

    def sql(self, vendor, *statements):
        """Run statements on this kind of database alone."""
        from django.db import connection

        if self.vendor == vendor:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

    def claim(self, limit, broker=None):
        return (broker or self.broker).claim(CLAIMANT, QUEUES, limit)

    def turn_over(self, jobs, limit, calls):
        """So many times settle the jobs and claim others, as a busy worker does; return the last ones."""
        for _ in range(calls):
            turn = self.broker.settle_and_claim(_succeeded(jobs), CLAIMANT, QUEUES, limit)
            assert len(turn.accepted) == len(jobs)
            jobs = turn.claimed
        return jobs

    def look_past(self, broker):
        return broker.claim(CLAIMANT, QUEUES, 100, [self.tasks.noop.module_path])

    def settle(self, jobs):
        """Settle the jobs as succeeded; return how many were accepted."""
        return len(self.broker.settle(_succeeded(jobs)))

    def wait_until_empty(self):
        from mainspring.job import LIVE

        while self.broker.search(states=LIVE, limit=1):
            time.sleep(0.02)

    def settle_all(self, jobs):
        for start in range(0, len(jobs), 250):
            self.settle(jobs[start : start + 250])

    def empty(self):
        while jobs := self.claim(250):
            self.settle(jobs)
        self.sql("postgresql", "VACUUM ANALYZE mainspring_job, mainspring_finished")


def _succeeded(jobs):
    from mainspring import job as machine

    now = time.time_ns() // 1000
    return [machine.succeed(job, "null", now, now) for job in jobs]


# The verbs, one by one.


def verbs(bench):
    """Yield (what, per, batch, at once, Spent)."""
    # Whatever falls into some measurements and not into others is measured by itself.
    bench.sql("postgresql", *(f"ALTER TABLE mainspring_{name} SET (autovacuum_enabled = off)" for name in TABLES))
    yield from enqueues(bench)
    bench.empty()
    for batch, calls in CALLS.items():
        yield from claim_and_settle(bench, batch, calls)
    if bench.vendor == "postgresql":
        bench.sql("postgresql", "SET synchronous_commit = off")
        for batch, calls in CALLS.items():
            yield from claim_and_settle(bench, batch, calls, ", disk not waited for")
        bench.sql("postgresql", "SET synchronous_commit = on")
    yield from execution(bench)
    if bench.vendor != "redis":
        yield from in_the_way(bench)
    yield from look_past(bench)
    yield from others(bench)


TABLES = ("job", "finished")


def enqueues(bench):
    from mainspring import enqueue_many

    def one_by_one():
        for _ in range(300):
            bench.tasks.noop.enqueue()

    yield "enqueue", "job", 1, 1, bench.meter.of(one_by_one)[0].per(300)
    jobs = [()] * 1000
    spent, _ = bench.meter.of(lambda: [enqueue_many(bench.tasks.noop, jobs) for _ in range(3)])
    yield "enqueue", "job", 1000, 1, spent.per(3000)


def claim_and_settle(bench, batch, calls, note=""):
    bench.fill(batch * calls + BEHIND)
    spent, claimed = bench.meter.of(lambda: [bench.claim(batch) for _ in range(calls)])
    assert all(len(jobs) == batch for jobs in claimed)
    yield f"claim{note}", "job", batch, 1, spent.per(batch * calls)
    spent, settled = bench.meter.of(lambda: [bench.settle(jobs) for jobs in claimed])
    assert sum(settled) == batch * calls
    yield f"settle{note}", "job", batch, 1, spent.per(batch * calls)
    bench.empty()
    bench.fill(batch * (calls + 1) + BEHIND)
    first = bench.claim(batch)
    spent, last = bench.meter.of(bench.turn_over, first, batch, calls)
    yield f"settle and claim{note}", "job", batch, 1, spent.per(batch * calls)
    bench.settle(last)
    bench.empty()


def execution(bench):
    """What a worker does with a job that does nothing, besides its dealings with the store."""
    from mainspring.compat import task_backends
    from mainspring.conf import options_for
    from mainspring.worker.execution import Execution
    from mainspring.worker.signals import log_what_is_heard

    log_what_is_heard()
    run = Execution(bench.broker, options_for("default"), type(task_backends["default"]))
    bench.fill(2000)
    jobs = [job for _ in range(8) for job in bench.claim(250)]
    spent, _ = bench.meter.of(lambda: [run.run(job, bench.tasks.noop) for job in jobs])
    yield "run", "job", None, 1, spent.per(len(jobs))
    bench.settle_all(jobs)
    bench.empty()


def others(bench):
    from mainspring.brokers.base import WorkerInfo

    def call():
        for _ in range(50):
            time.sleep(0.021)  # a process calls at most every 20 ms
            bench.broker.wake()

    yield "claim in vain", "call", None, 1, bench.meter.of(lambda: [bench.claim(4) for _ in range(100)])[0].per(100)
    me = WorkerInfo(CLAIMANT, 0, 0, 0, {})
    yield "heartbeat", "call", None, 1, bench.meter.of(lambda: [bench.broker.beat([me]) for _ in range(50)])[0].per(50)
    yield "call to idle workers", "call", None, 1, bench.meter.of(call)[0].per(50)
    bench.broker.limit_waits(2.0)  # as supervisors do
    spent, _ = bench.meter.of(lambda: [bench.broker.promote(500) for _ in range(100)])
    yield "look for what falls due", "call", None, 1, spent.per(100)


def in_the_way(bench):
    """What a claim passes over before it comes to jobs that it can take."""
    bench.fill(IN_THE_WAY + BEHIND)
    usual = _first_claims(bench, 5)
    held = []
    while len(held) < IN_THE_WAY:
        held += bench.claim(250)
    yield "job passed that runs", "job", None, 1, _more(_first_claims(bench, 5), usual)
    bench.settle_all(held)
    # Whoever comes first marks what has ended, for all others.
    yield "job passed that has just ended", "job", None, 1, _more(_first_claims(bench, 1), usual)
    yield "job passed that has ended, later", "job", None, 1, _more(_first_claims(bench, 5), usual)
    if bench.vendor == "postgresql":
        spent, _ = bench.meter.of(bench.sql, "postgresql", "VACUUM mainspring_job")
        yield "vacuum", "job", None, 1, spent.per(IN_THE_WAY)
    bench.empty()


def _first_claims(bench, times):
    """Return the median of what it takes to claim one job without knowing where the line begins."""
    brokers = [bench.fresh_broker() for _ in range(times)]
    spent = [bench.meter.of(bench.claim, 1, broker)[0] for broker in brokers]
    return Spent(*(None if None in values else statistics.median(values) for values in zip(*spent, strict=True)))


def _more(spent, usual):
    more = [max(new - old, 0.0) / IN_THE_WAY for new, old in zip(spent[:3], usual[:3], strict=True)]
    return Spent(*more, None, None, None)


def look_past(bench):
    """What a worker whose threads are full does to find async jobs behind a backlog of others."""
    bench.fill(BACKLOG)
    brokers = [bench.fresh_broker() for _ in range(10)]
    spent, found = bench.meter.of(lambda: [bench.look_past(broker) for broker in brokers])
    assert not any(found)
    yield f"look past {BACKLOG} jobs", "call", None, 1, spent.per(10)
    bench.empty()
    # PostgreSQL reads the whole table to settle one job, while that is small enough for it to seem cheaper.
    bench.fill(SMALL)
    claimed = bench.claim(50)
    spent, _ = bench.meter.of(lambda: [bench.settle([job]) for job in claimed])
    yield f"settle beside {SMALL} jobs", "job", 1, 1, spent.per(50)
    bench.empty()


def round_trips(bench, turns):
    """Yield (what, batch, round trips per job or call)."""
    from mainspring import enqueue_many

    def count(work):
        before = turns.count
        work()
        return turns.count - before

    bench.fill(3000)
    broker = bench.fresh_broker()
    yield "enqueue", 1, count(lambda: [bench.tasks.noop.enqueue() for _ in range(50)]) / 50
    yield "enqueue", 1000, count(lambda: enqueue_many(bench.tasks.noop, [()] * 1000)) / 1000
    for batch in CALLS:
        claimed = []
        yield "claim", batch, count(lambda batch=batch, claimed=claimed: claimed.extend(bench.claim(batch))) / batch
        yield "settle", batch, count(lambda claimed=claimed: bench.settle(claimed)) / batch
        claimed = bench.claim(batch)
        turn = count(lambda batch=batch, claimed=claimed: claimed.extend(bench.turn_over(claimed[:batch], batch, 1)))
        yield "settle and claim", batch, turn / batch
        bench.settle(claimed[batch:])
    yield f"look past {BACKLOG} jobs", None, count(lambda: bench.look_past(broker))
    bench.empty()
    yield "claim in vain", None, count(lambda: bench.claim(4))


# Several at once.


def contend(owner, batch, calls, ready, go, done):
    bench = Bench(owner)
    jobs = bench.turn_over(bench.claim(batch), batch, 3)
    ready.release()
    go.wait()
    began = time.process_time()
    jobs = bench.turn_over(jobs, batch, calls)
    done.put((time.process_time() - began) * 1e6)
    bench.settle(jobs)


def at_once(bench, owner):
    context = multiprocessing.get_context("spawn")
    for batch, calls in ((1, 200), (64, 24)):
        for clients in AT_ONCE:
            ready, go, done = context.Semaphore(0), context.Event(), context.Queue()
            bench.fill((calls + 4) * batch * clients + BEHIND)
            processes = [
                context.Process(target=contend, args=(owner, batch, calls, ready, go, done)) for _ in range(clients)
            ]
            for process in processes:
                process.start()
            for _ in processes:
                ready.acquire()
            bench.meter.begin()
            go.set()
            own = sum(done.get() for _ in processes)
            spent = bench.meter.end(before_asking=lambda processes=processes: [one.join() for one in processes])
            yield "settle and claim", "job", batch, clients, spent._replace(client=own).per(calls * batch * clients)
            bench.empty()


# Whole workers.


def workers(bench):
    for length, jobs in LENGTHS.items():
        for processes in (1, 2):
            yield worker(bench, length, jobs * processes, processes)
            if length and processes == 1:
                yield worker(bench, length, jobs * processes, processes, "async=0")
    # As many threads, in four processes and in one.
    yield worker(bench, length, 4 * jobs, 4)
    yield worker(bench, length, 4 * jobs, 1, "threads=16")


def worker(bench, length, jobs, processes, *options):
    """Run a worker that waits for jobs and then finds them all at once."""
    from mainspring import enqueue_many

    name = f"worker, jobs of {length} ms{''.join(f', {option}' for option in options)}"
    task, arguments = (bench.tasks.last, (length / 1000,)) if length else (bench.tasks.noop, ())
    bench.broker.prune(["succeeded"], bench.broker.now(), 10 * jobs)
    bench.sql("postgresql", "VACUUM ANALYZE mainspring_job, mainspring_finished")
    with running(processes, *options) as command:
        # Few, as PostgreSQL counts what they take up to ten seconds later.
        for result in enqueue_many(task, [arguments] * 4):
            result.get(timeout=30)
        everybody = [command, *command.children(recursive=True)]
        for process in everybody:
            process.suspend()
        # Not in one go, as Redis takes four seconds for 20,000 jobs.
        results = [enqueue_many(task, [arguments] * min(1000, jobs - n))[-1] for n in range(0, jobs, 1000)]
        bench.meter.begin()
        before = cpu([command])
        for process in everybody:
            process.resume()
        results[-1].get(timeout=600)
        bench.wait_until_empty()
        own = cpu([command]) - before
    spent = bench.meter.end(before_asking=command.wait)
    return name, "job", None, processes, spent._replace(client=own).per(jobs)


@contextlib.contextmanager
def running(processes, *options):
    """Yield a worker command that is ready, as a process; it is told to stop at the end."""
    flags = [f"--processes={processes}", *(f"--{option}" for option in options)]
    with tempfile.TemporaryFile("w+") as log:
        command = psutil.Popen(
            [sys.executable, "-m", "django", "mainspring", "worker", *flags], stdout=log, stderr=log
        )
        said = ""
        while said.count("is ready") < processes:
            time.sleep(0.05)
            log.seek(0)
            said = log.read()
            assert command.poll() is None, said
        try:
            yield command
        finally:
            command.terminate()


def calls(bench):
    """What it costs that every idle command hears of a job that one of them will run; the heartbeats are in it."""
    for commands in COMMANDS:
        with contextlib.ExitStack() as stack:
            started = [stack.enter_context(running(1)) for _ in range(commands)]
            bench.tasks.noop.enqueue().get(timeout=30)
            time.sleep(1)
            before = cpu(started)
            bench.meter.begin()
            for _ in range(ENQUEUES):
                bench.tasks.noop.enqueue()
                time.sleep(BETWEEN)
            bench.wait_until_empty()
            own = cpu(started) - before
        spent = bench.meter.end(before_asking=lambda started=started: [command.wait() for command in started])
        yield "enqueue beside idle commands", "job", None, commands, spent._replace(client=own).per(ENQUEUES)


def idle(bench):
    with running(1) as command:
        bench.tasks.noop.enqueue().get(timeout=30)
        time.sleep(1)
        before = cpu([command])
        bench.meter.begin()
        time.sleep(IDLE)
        spent = bench.meter.end()._replace(client=cpu([command]) - before)
    command.wait()
    yield "idle worker", "second", None, 1, spent.per(IDLE)


def disk():
    """Return how many microseconds it takes until 8 kB at the end of a file are surely on this disk."""
    with tempfile.TemporaryFile() as file:
        began = time.perf_counter()
        for _ in range(200):
            file.write(os.urandom(8192))
            file.flush()
            os.fdatasync(file.fileno())
        yield (
            "disk",
            "write and sync",
            None,
            1,
            Spent(None, None, (time.perf_counter() - began) / 200 * 1e6, *[None] * 3),
        )


# Each round of each part on a store of its own, in a process of its own.


def measure(owner, part, queue):
    bench = Bench(owner)
    found = {"verbs": verbs, "workers": workers, "calls": calls, "idle": idle}
    rows = at_once(bench, owner) if part == "at once" else found[part](bench)
    queue.put([(*row[:4], tuple(row[4])) for row in rows])


def measure_round_trips(queue):
    with Turns() as turns:
        turns.lead_here()
        queue.put(list(round_trips(Bench(os.getppid()), turns)))


def in_process(target, *arguments):
    """Return what a new process, which sets Django up anew, puts into its queue."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=target, args=(*arguments, queue))
    process.start()
    while True:
        try:
            found = queue.get(timeout=1)
            break
        except Exception:
            if process.exitcode:
                raise SystemExit(f"A measurement has failed; what it said stands above ({arguments}).") from None
    process.join()
    return found


def examine(name, parts, rounds):
    """Yield the rows of one store."""
    found = {}
    trips = {}
    for part in parts:
        for _ in range(rounds):
            with store(name):
                for *key, spent in in_process(measure, os.getpid(), part):
                    found.setdefault(tuple(key), []).append(Spent(*spent))
                if part == "verbs" and not name.startswith("sqlite") and not trips:
                    trips = {(what, batch): count for what, batch, count in in_process(measure_round_trips)}
    for (what, per, batch, clients), spent in found.items():
        row = {"store": name, "what": what, "per": per, "batch": batch, "at once": clients}
        for column, field in COLUMNS.items():
            values = [getattr(one, field) for one in spent]
            row[column] = None if None in values else values
        yield row | {"round trips": trips.get((what, batch))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", help="save the figures here")
    options = parser.parse_args()
    report = Report(
        "What does a job cost, on each store, and whom?",
        ["store", "what", "per", "batch", "at once", *COLUMNS, "round trips"],
        rounds=options.rounds,
    )
    for what, per, batch, clients, spent in disk():
        report.add(
            {"store": "disk", "what": what, "per": per, "batch": batch, "at once": clients, "wall µs": spent.wall}
        )
    for name in options.store or NAMES:
        for row in examine(name, options.part or PARTS, options.rounds):
            report.add(row)
        report.save(options.json)


if __name__ == "__main__":
    main()
