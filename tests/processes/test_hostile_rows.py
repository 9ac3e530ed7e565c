"""Rows that no project of good will would write, straight in the store: they stop nobody, and can be seen."""

import json
import random
import re
import subprocess
import sys
import time

import pytest
from django.conf import settings
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mainspring.brokers.database.tables import JOB, JOB_COLUMNS
from mainspring.compat import task_backends
from mainspring.job import ENDS, Job, State, new_id, rank_of
from tests import servers
from tests.app import tasks
from tests.processes.conftest import end_of, wait_until

if settings.STORE == "redis":
    from mainspring.brokers.redis.keys import Keys
    from mainspring.brokers.redis.records import VERSION, place_of

HOSTILE = 10_000
IN_ONE_GO = 250
GOOD = 200

NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31)]
MOMENTS = [*NUMBERS, None, 2**63 - 1, -(2**63), 253_402_300_800_000_000]
TEXTS = [
    "",
    "null",
    "{",
    "[]",
    "[[]]",
    '{"args": 3}',
    '{"args": [], "kwargs": []}',
    "NaN",
    "1e999",
    "é\u202e",
    "'; --",
]
TEXTS += ["[" * 5000, '{"args": [1, 2, 3, 4], "kwargs": {"a": 1}}', "9" * 5000, "x" * 100_000, '"\\ud800"']
PATHS = ["os.system", "..", "", ".", "tests.app.tasks", "tests.app.tasks.gone", "builtins.exec", "tests.app.tasks.add"]
PATHS += ["tests.app.tasks.Note", "é.ü", "x" * 255, "mainspring.exceptions.Retry", "tests.app.tasks.echo.__class__"]
STATES = ["ready"] * 8 + ["running", "deferred", "parked", "succeeded", "", "nonsense"]


def hostile_row(chance, texts=TEXTS, numbers=NUMBERS, moments=MOMENTS, paths=PATHS):
    """Return the values of one row, each by chance one that should not be there."""
    priority = chance.choice([0, 0, 0, 100, -100, 999, -999])
    usual = {
        "id": new_id(),
        "state": chance.choice(STATES),
        "queue_name": chance.choice(["default"] * 6 + ["", "nobody's"]),
        "priority": priority,
        "task_path": chance.choice(paths),
        "arguments": chance.choice(texts),
        "enqueued_at": time.time_ns() // 1000,
        "rank": chance.choice([rank_of(0, time.time_ns() // 1000)] * 5 + [0, None, 2**63 - 1, -1]),
        "worker_id": chance.choice(["", "", "gone"]),
        "attempts": chance.choice(numbers),
        "crashes": chance.choice([0, 0, 0, 1, -5]),
        "interruptions": 0,
        "errors": chance.choice(texts),
        "worker_ids": chance.choice(texts),
        "result": chance.choice([None, *texts]),
    }
    for name in ("run_after", "due_at", "token", "started_at", "last_attempted_at", "finished_at"):
        usual[name] = chance.choice(moments)
    return [usual.get(name) for name in JOB_COLUMNS]


def write_rows(rows):
    """Store them as another program might."""
    if settings.STORE == "redis":
        return write_records(rows)
    names = ", ".join(connection.ops.quote_name(name) for name in JOB_COLUMNS)
    marks = ", ".join(["%s"] * len(JOB_COLUMNS))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {JOB} ({names}) VALUES ({marks})", rows)


def write_records(rows):
    """Put them on Redis, one in twenty as a record that nobody can read, each where its state belongs."""
    keys, commands = Keys.of("mainspring:default"), []
    for row in rows:
        job = Job(**dict(zip(JOB_COLUMNS, row, strict=True)))
        place = place_of(job).place if isinstance(job.due_at, int | None) else "0"
        line = f"{job.queue_name}\0{job.task_path}\0"
        record = b"\xff{" if len(commands) % 20 == 0 else json.dumps([VERSION, *job[1:]])
        commands += [("HSET", keys.jobs, job.id, record), ("ZADD", keys.by_id, 0, f"{job.state}\0{line}{job.id}")]
        match job.state:
            case State.READY:
                commands.append(("ZADD", keys.ready if job.crashes < 1 else keys.alone, 0, f"{line}{place}{job.id}"))
            case State.DEFERRED:
                commands.append(("ZADD", keys.deferred, place, f"{line}{job.id}"))
            case State.RUNNING:
                claim = f"{job.token} {job.last_attempted_at} {job.worker_id}\0{line}"
                commands.append(("HSET", keys.claims, job.id, claim))
    with servers.redis_client(settings.REDIS_URL) as client, client.pipeline() as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        pipeline.execute()


def spoil_texts():
    """SQLite alone stores texts that are no UTF-8, and bytes where a text belongs."""
    with connection.cursor() as cursor:
        for name in ("arguments", "errors", "worker_ids", "task_path"):
            for number, spoilt in enumerate(("CAST(x'ff41' AS TEXT)", "x'ff41'")):
                cursor.execute(f"UPDATE {JOB} SET {name} = {spoilt} WHERE rowid %% 97 = %s", [len(name) + number])


def mainspring(*words):
    command = [sys.executable, "-m", "django", "mainspring", *words, "--skip-checks", "--settings", "tests.settings"]
    return subprocess.run(command, capture_output=True, text=True)


def usual_children(worker, number):
    """Return the numbers of its processes, but that for jobs that run alone: rows that say so make it come and go."""
    ready = re.compile(r"Worker process (\d+) is ready\.")
    wait_until(lambda: len(ready.findall(worker.output)) == number)
    return {int(pid) for pid in ready.findall(worker.output)}


@pytest.mark.storm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
def test_hostile_rows_stop_nobody_and_can_be_seen(start_worker, broker, seed):
    """Ten thousand of them, with good jobs behind them in the same queue."""
    chance = random.Random(seed)
    rows = [hostile_row(chance) for _ in range(HOSTILE)]
    for start in range(0, HOSTILE, 100):
        write_rows(rows[start : start + 100])
    if settings.STORE == "sqlite":
        spoil_texts()
    good = [tasks.add.enqueue(number, 1) for number in range(GOOD)]
    worker = start_worker("--processes", "2")
    children = usual_children(worker, 2)

    for result in good:
        job = end_of(result, broker, timeout=120)
        assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
    assert "ended by" not in worker.output
    assert "exited with" not in worker.output
    wait_until(lambda: nothing_moves(broker), timeout=120)

    for row in rows[:: HOSTILE // 200]:
        show(broker.get(row[0]))
    assert children <= {child.pid for child in worker.children()}
    for verb in (["status", "--json"], ["workers", "--json"], ["prune", "--dry-run", "--json"]):
        shown = mainspring(*verb)
        assert shown.returncode == 0, shown.stderr
        json.loads(shown.stdout)
    assert mainspring("health").returncode in (0, 1)


# What no database refuses to store in a column of its kind.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(characters), st.lists)
payloads = st.dictionaries(st.sampled_from(["args", "kwargs"]), json_values).map(json.dumps)
some_texts = st.lists(st.text(characters) | payloads | json_values.map(json.dumps), min_size=1)
some_numbers = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1)
some_moments = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)
some_paths = st.lists(st.text(characters, max_size=50), min_size=1)


@pytest.mark.storm
@pytest.mark.timeout(300)
def test_fuzzed_rows_stop_nobody(start_worker, broker):
    """Whatever stands in them, the good job behind them runs, in the same processes as before."""
    worker = start_worker("--processes", "2")
    children = usual_children(worker, 2)
    ids = []

    @hypothesis_settings(
        max_examples=HOSTILE // IN_ONE_GO,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=HealthCheck,
    )
    @given(some_texts, some_numbers, some_moments, some_paths, st.integers())
    def strike(texts, numbers, moments, paths, seed):
        chance = random.Random(seed)
        rows = [
            hostile_row(chance, TEXTS + texts, NUMBERS + numbers, MOMENTS + moments, PATHS + paths)
            for _ in range(IN_ONE_GO)
        ]
        write_rows(rows)
        job = end_of(tasks.add.enqueue(1, 1), broker)
        assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
        ids.extend(row[0] for row in rows)

    strike()
    assert len(ids) >= HOSTILE
    for id in ids[:: HOSTILE // 200]:
        show(broker.get(id))
    assert children <= {child.pid for child in worker.children()}
    assert "ended by" not in worker.output


def nothing_moves(broker):
    """Has the number of live jobs stopped falling?"""
    before = getattr(nothing_moves, "before", None)
    nothing_moves.before = sum(count.number for count in broker.counts(0) if count.state not in ENDS)
    return before == nothing_moves.before


def show(job):
    """A row is never lost, and its result can be looked at: what is damaged is named where it is asked for."""
    assert job is not None
    result = task_backends["default"].get_result(job.id)
    for name in ("args", "kwargs", "errors", "status", "enqueued_at", "finished_at", "worker_ids"):
        try:
            getattr(result, name)
        except (ValueError, TypeError, KeyError):
            continue
