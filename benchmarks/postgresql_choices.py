"""
Which choices about PostgreSQL make jobs cheaper?

    python benchmarks/postgresql_choices.py --part table --seconds 75

Parts: `table` lets jobs flow at a steady rate under several settings of their table; `history` prunes a history, in
one table and in partitions; `statements` compares ways to send them; `connections` weighs connections; `pooler` puts
pgbouncer in between.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import time
from types import SimpleNamespace

import psutil
from costs import Bench, in_process, running
from figures import Report
from meters import cpu
from stores import store

from tests import servers

PARTS = ("table", "history", "statements", "connections", "pooler")
RATE = 2000  # jobs a second
BATCH = 50
NO_SCALE = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000"
SETTINGS = {  # of the job table, and seconds between two looks of autovacuum
    "as it comes (fillfactor 50)": ("", 60),
    "fillfactor 70": ("fillfactor = 70", 60),
    "fillfactor 100": ("fillfactor = 100", 60),
    "a look every 10 s": ("", 10),
    "a look every 10 s, threshold 1000": (NO_SCALE, 10),
    "no autovacuum": ("autovacuum_enabled = off", 60),
}
HISTORY = 50_000
DAYS = 30
WAYS = {  # of sending statements: options of the connection, and whether the server may keep them
    "kept for each connection": ({}, True),
    "sent as they are": ({}, False),
    "server_side_binding, prepare_threshold 1": ({"server_side_binding": True, "prepare_threshold": 1}, True),
}


def _first(bench, statement):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def _as_administrator(*statements):
    import psycopg

    port = json.loads(os.environ["BENCHMARK_DATABASE"])["PORT"]
    with psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        for statement in statements:
            connection.execute(statement)


# The settings of the job table.


def flow(owner, name, seconds, queue):
    """Let jobs flow at RATE, and look now and then what the first claim of a new process takes."""
    from mainspring import enqueue_many

    bench = Bench(owner)
    options, naptime = SETTINGS[name]
    _as_administrator(f"ALTER SYSTEM SET autovacuum_naptime = {naptime}", "SELECT pg_reload_conf()")
    if options:
        bench.sql("postgresql", f"ALTER TABLE mainspring_job SET ({options})")
    bench.fill(2000)
    bench.meter.begin()
    probed, probes, done = 0.0, [], 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        if done > elapsed * RATE:
            time.sleep(0.002)
            continue
        enqueue_many(bench.tasks.noop, [()] * BATCH)
        done += bench.settle(bench.claim(BATCH))
        if elapsed > probed + 2:
            probed = elapsed
            probes.append(_probe(bench))
    spent = bench.meter.end().per(done)
    updates = "SELECT 100.0 * n_tup_hot_upd / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'mainspring_job'"
    queue.put(
        {
            "jobs/s": done / seconds,
            "server µs": spent.server,
            "log bytes": spent.log,
            "heap-only %": float(_first(bench, updates)),
            "first claim µs": statistics.median(probes),
            "table MB": _first(bench, "SELECT pg_total_relation_size('mainspring_job')") / 1e6,
        }
    )


def _probe(bench):
    """Return the processor time of a claim by a process that knows nothing of where the line begins."""
    broker = bench.fresh_broker()
    before = cpu(bench.meter.servers)
    jobs = bench.claim(1, broker)
    taken = cpu(bench.meter.servers) - before
    bench.settle(jobs)
    return taken


def table(report, options):
    for name in SETTINGS:
        with store("postgresql"):
            found = in_process(flow, os.getpid(), name, options.seconds)
        report.add({"settings": name} | found)


TABLE = ["settings", "jobs/s", "server µs", "log bytes", "heap-only %", "first claim µs", "table MB"]


# A history in partitions.

# As docs/explanation/scaling.md advises.
PARTITIONED = """
    ALTER TABLE mainspring_finished RENAME TO mainspring_finished_before;
    ALTER INDEX mainspring_finished_state RENAME TO mainspring_finished_before_state;
    CREATE TABLE mainspring_finished (LIKE mainspring_finished_before INCLUDING DEFAULTS) PARTITION BY RANGE (id);
    ALTER TABLE mainspring_finished ADD PRIMARY KEY (id);
    CREATE INDEX mainspring_finished_state ON mainspring_finished (state, finished_at);
    CREATE TABLE mainspring_finished_default PARTITION OF mainspring_finished DEFAULT;
    INSERT INTO mainspring_finished SELECT * FROM mainspring_finished_before;
    DROP TABLE mainspring_finished_before;
"""


def bound(day):
    """Return what the ids of this day (days since the epoch) begin with; UUIDv7 begin with milliseconds."""
    text = f"{day * 86_400_000:012x}"
    return f"{text[:8]}-{text[8:]}"


def history(report, options):
    for days in (0, DAYS):
        with store("postgresql"):
            for found in in_process(keep_and_prune, os.getpid(), days):
                report.add({"history": f"{days} partitions" if days else "one table"} | found)


def keep_and_prune(owner, days, queue):
    bench = Bench(owner)
    today = int(time.time() // 86_400)
    bench.sql("postgresql", "ALTER TABLE mainspring_job SET (autovacuum_enabled = off)")
    if days:
        bench.sql("postgresql", PARTITIONED)
        for day in range(today - days + 2, today + 2):
            bench.sql(
                "postgresql",
                f"CREATE TABLE mainspring_finished_{day} PARTITION OF mainspring_finished"
                f" FOR VALUES FROM ('{bound(day)}') TO ('{bound(day + 1)}')",
            )
    rows = []

    def add(what, count, spent):
        spent = spent.per(count)
        rows.append({"what": what, "server µs": spent.server, "wall µs": spent.wall, "log bytes": spent.log})

    bench.fill(HISTORY)
    jobs = []
    while len(jobs) < HISTORY:
        jobs += bench.claim(250)
    add("settle, 250 at once", HISTORY, bench.meter.of(bench.settle_all, jobs)[0])
    bench.sql("postgresql", "VACUUM ANALYZE mainspring_finished")
    broker, ids = bench.broker, [job.id for job in jobs[::250]]
    add("look one up", len(ids), bench.meter.of(lambda: [broker.get(id) for id in ids])[0])
    add("list the last 100", 20, bench.meter.of(lambda: [broker.search(states=["succeeded"]) for _ in range(20)])[0])
    size = _first(bench, f"SELECT pg_total_relation_size('mainspring_finished{f'_{today}' if days else ''}')")
    if days:
        # The history of one day, in one go.
        add("drop", HISTORY, bench.meter.of(bench.sql, "postgresql", f"DROP TABLE mainspring_finished_{today}")[0])
    else:
        before = broker.now() + 60_000_000

        def prune():
            while broker.prune(["succeeded"], before, 500):
                pass

        add("prune, 500 at once", HISTORY, bench.meter.of(prune)[0])
        spent, _ = bench.meter.of(bench.sql, "postgresql", "VACUUM mainspring_finished")
        add("vacuum afterwards", HISTORY, spent)
    rows[-1]["MB before"] = size / 1e6
    queue.put(rows)


HISTORIES = ["history", "what", "server µs", "wall µs", "log bytes", "MB before"]


# How statements are sent.


def statements(report, options):
    with store("postgresql"):
        database = json.loads(os.environ["BENCHMARK_DATABASE"])
        for name, (found, may_keep) in WAYS.items():
            os.environ["BENCHMARK_DATABASE"] = json.dumps(database | {"OPTIONS": found})
            report.add({"statements": name} | in_process(speak, os.getpid(), may_keep))


def speak(owner, may_keep, queue):
    from mainspring.brokers.database.prepared import send_as_they_are

    bench = Bench(owner)
    if not may_keep:
        send_as_they_are("default")
    found = {}
    bench.sql("postgresql", "ALTER TABLE mainspring_job SET (autovacuum_enabled = off)")
    for batch, calls in ((1, 300), (64, 30)):
        bench.fill(batch * (calls + 10) + 2000)
        bench.settle_all([job for _ in range(10) for job in bench.claim(batch)])
        spent, claimed = bench.meter.of(lambda batch=batch, calls=calls: [bench.claim(batch) for _ in range(calls)])
        found[f"claim {batch}"] = spent.server / calls
        spent, _ = bench.meter.of(lambda claimed=claimed: [bench.settle(jobs) for jobs in claimed])
        found[f"settle {batch}"] = spent.server / calls
        bench.empty()
    spent, _ = bench.meter.of(lambda: [bench.claim(4) for _ in range(200)])
    found["claim in vain"] = spent.server / 200
    queue.put(found)


STATEMENTS = ["statements", "claim 1", "settle 1", "claim 64", "settle 64", "claim in vain"]


# Connections.


def connections(report, options):
    for resting in (0, 150):
        with store("postgresql"):
            report.add({"connections that rest": resting} | in_process(weigh, os.getpid(), resting))


def weigh(owner, resting, queue):
    import psycopg

    bench = Bench(owner)
    port = json.loads(os.environ["BENCHMARK_DATABASE"])["PORT"]
    others = [
        psycopg.connect(host="127.0.0.1", port=port, user="mainspring", dbname="mainspring") for _ in range(resting)
    ]
    memory = [_memory(other.info.backend_pid) for other in others]
    bench.fill(300)
    spent, _ = bench.meter.of(lambda: [bench.claim(1) for _ in range(200)])
    found = {"claim 1": spent.server / 200, "MB each": statistics.mean(memory) if memory else None}
    queue.put(found | {"MB of one in use": _memory(_first(bench, "SELECT pg_backend_pid()"))})
    for other in others:
        other.close()


def _memory(pid):
    """Return the megabytes that a process has for itself."""
    return psutil.Process(pid).memory_full_info().uss / 1e6


CONNECTIONS = ["connections that rest", "claim 1", "MB each", "MB of one in use"]


def pooler(report, options):
    for way in ("straight", "pgbouncer"):
        with store("postgresql"), contextlib.ExitStack() as stack:
            if way == "pgbouncer":
                database = json.loads(os.environ["BENCHMARK_DATABASE"])
                between = stack.enter_context(servers.PgBouncer(SimpleNamespace(port=database["PORT"])))
                os.environ["BENCHMARK_DATABASE"] = json.dumps(database | {"PORT": str(between.port)})
            report.add({"way": way} | in_process(pass_through, os.getpid()))


def pass_through(owner, queue):
    """See how a worker of two processes fares, all of whose threads use their connections."""
    from mainspring import enqueue_many

    bench = Bench(owner)
    with running(2):
        time.sleep(1)
        bench.meter.begin()
        time.sleep(10)
        idle = bench.meter.end().per(10)
        delays = []
        for _ in range(15):
            time.sleep(random.uniform(0.5, 1.5))
            result = bench.tasks.noop.enqueue()
            enqueued = time.time()
            time.sleep(0.7)
            result.refresh()
            delays.append((result.started_at.timestamp() - enqueued) * 1000)
        began = time.perf_counter()
        enqueue_many(bench.tasks.query, [()] * 3000)
        bench.wait_until_empty()
        seconds = time.perf_counter() - began
        used = _first(
            bench,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'",
        )
    queue.put(
        {
            "connections of the server": used,
            "jobs with a query /s": 3000 / seconds,
            "server µs of an idle second": idle.server,
            "idle start, median ms": statistics.median(delays),
            "slowest": max(delays),
        }
    )


POOLERS = [
    "way",
    "connections of the server",
    "jobs with a query /s",
    "server µs of an idle second",
    "idle start, median ms",
    "slowest",
]

COLUMNS = {
    "table": TABLE,
    "history": HISTORIES,
    "statements": STATEMENTS,
    "connections": CONNECTIONS,
    "pooler": POOLERS,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--seconds", type=float, default=75, help="of each setting of the table (%(default)s)")
    parser.add_argument("--json", help="save the figures here, a file for each part: <name>-<part>.json")
    options = parser.parse_args()
    for part in options.part or PARTS:
        report = Report(f"Which choices about PostgreSQL matter: {part}?", COLUMNS[part], seconds=options.seconds)
        globals()[part](report, options)
        if options.json:
            stem, _, ending = options.json.rpartition(".")
            report.save(f"{stem}-{part}.{ending}")
        print()


if __name__ == "__main__":
    main()
