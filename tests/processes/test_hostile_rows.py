"""Rows that no project of good will would write, straight in the table: they stop nobody, and can be seen."""

import json
import random
import subprocess
import sys
import time

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mainspring.brokers.database.tables import JOB, JOB_COLUMNS
from mainspring.compat import task_backends
from mainspring.job import State, new_id, rank_of
from tests.app import tasks
from tests.processes.conftest import end_of, wait_until

HOSTILE = 10_000
FUZZED = 1_000
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


def hostile_row(chance):
    """Return the values of one row, each by chance one that should not be there."""
    priority = chance.choice([0, 0, 0, 100, -100, 999, -999])
    usual = {
        "id": new_id(),
        "state": chance.choice(STATES),
        "queue_name": chance.choice(["default"] * 6 + ["", "nobody's"]),
        "priority": priority,
        "task_path": chance.choice(PATHS),
        "arguments": chance.choice(TEXTS),
        "enqueued_at": time.time_ns() // 1000,
        "rank": chance.choice([rank_of(0, time.time_ns() // 1000)] * 5 + [0, None, 2**63 - 1, -1]),
        "worker_id": chance.choice(["", "", "gone"]),
        "attempts": chance.choice(NUMBERS),
        "crashes": chance.choice([0, 0, 0, 1, -5]),
        "interruptions": 0,
        "errors": chance.choice(TEXTS),
        "worker_ids": chance.choice(TEXTS),
        "result": chance.choice([None, *TEXTS]),
    }
    for name in ("run_after", "due_at", "token", "started_at", "last_attempted_at", "finished_at"):
        usual[name] = chance.choice(MOMENTS)
    return [usual.get(name) for name in JOB_COLUMNS]


def write_rows(rows):
    """Insert them as another program might."""
    names = ", ".join(connection.ops.quote_name(name) for name in JOB_COLUMNS)
    marks = ", ".join(["%s"] * len(JOB_COLUMNS))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {JOB} ({names}) VALUES ({marks})", rows)


def spoil_texts():
    """SQLite alone stores texts that are no UTF-8, and bytes where a text belongs."""
    with connection.cursor() as cursor:
        for name in ("arguments", "errors", "worker_ids", "task_path"):
            for number, spoilt in enumerate(("CAST(x'ff41' AS TEXT)", "x'ff41'")):
                cursor.execute(f"UPDATE {JOB} SET {name} = {spoilt} WHERE rowid %% 97 = %s", [len(name) + number])


def mainspring(*words):
    command = [sys.executable, "-m", "django", "mainspring", *words, "--skip-checks", "--settings", "tests.settings"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.storm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
def test_hostile_rows_stop_nobody_and_can_be_seen(start_worker, broker, seed):
    """Ten thousand of them, with good jobs behind them in the same queue."""
    chance = random.Random(seed)
    rows = [hostile_row(chance) for _ in range(HOSTILE)]
    for start in range(0, HOSTILE, 100):
        write_rows(rows[start : start + 100])
    if connection.vendor == "sqlite":
        spoil_texts()
    good = [tasks.add.enqueue(number, 1) for number in range(GOOD)]
    worker = start_worker("--processes", "2")

    for result in good:
        job = end_of(result, broker, timeout=120)
        assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
    children = {child.pid for child in worker.children()}
    assert "ended by" not in worker.output
    assert "exited with" not in worker.output
    wait_until(lambda: nothing_moves(broker), timeout=120)

    for row in rows[:: HOSTILE // 200]:
        show(broker.get(row[0]))
    assert {child.pid for child in worker.children()} == children
    for verb in (["status", "--json"], ["workers", "--json"], ["prune", "--dry-run", "--json"]):
        shown = mainspring(*verb)
        assert shown.returncode == 0, shown.stderr
        json.loads(shown.stdout)
    assert mainspring("health").returncode in (0, 1)


# What no database refuses to store in a column of its kind; each falls back on what is known to be awkward.
numbers = st.sampled_from(NUMBERS) | st.integers(-(2**31), 2**31 - 1)
moments = st.sampled_from(MOMENTS) | st.integers(-(2**63), 2**63 - 1)
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.sampled_from(TEXTS) | st.text(characters)
json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(characters), st.lists)
payloads = texts | st.dictionaries(st.sampled_from(["args", "kwargs"]), json_values).map(json.dumps)
fuzzed_row = st.fixed_dictionaries(
    {
        "state": st.sampled_from(STATES),
        "queue_name": st.just("default") | st.text(characters, max_size=20),
        "priority": st.sampled_from([0, 100, -100, 999, -999]),
        "task_path": st.sampled_from(PATHS) | st.text(characters, max_size=50),
        "arguments": payloads,
        "enqueued_at": moments.filter(lambda moment: moment is not None),
        "rank": moments | st.integers(0, 2**60),
        "worker_id": st.sampled_from(["", "gone"]),
        "attempts": numbers,
        "crashes": st.just(0) | numbers,
        "interruptions": numbers,
        "max_crashes": st.none() | numbers,
        "errors": texts | json_values.map(json.dumps),
        "worker_ids": texts | json_values.map(json.dumps),
        "result": st.none() | texts,
        "run_after": moments,
        "due_at": moments,
        "token": moments,
        "started_at": moments,
        "last_attempted_at": moments,
        "finished_at": moments,
    }
)


@pytest.mark.storm
@pytest.mark.timeout(300)
def test_fuzzed_rows_stop_nobody(start_worker, broker):
    """Whatever stands in them, the good job behind them runs, in the same processes as before."""
    worker = start_worker("--processes", "2")
    worker.wait_for_line("is ready", count=2)
    children = {child.pid for child in worker.children()}
    ids = []

    @hypothesis_settings(
        max_examples=FUZZED // 25, deadline=None, database=None, derandomize=True, suppress_health_check=HealthCheck
    )
    @given(st.lists(fuzzed_row, min_size=25, max_size=25))
    def strike(rows):
        rows = [{"id": new_id()} | row for row in rows]
        write_rows([[row[name] for name in JOB_COLUMNS] for row in rows])
        job = end_of(tasks.add.enqueue(1, 1), broker)
        assert (job.state, job.attempts) == (State.SUCCEEDED, 1)
        ids.extend(row["id"] for row in rows)

    strike()
    assert len(ids) >= FUZZED
    for id in ids[:: FUZZED // 50]:
        show(broker.get(id))
    # A row may say that it has crashed, and so runs alone in a process of its own.
    assert children <= {child.pid for child in worker.children()}
    assert "ended by" not in worker.output


def nothing_moves(broker):
    """Has the number of live jobs stopped falling?"""
    from mainspring.models import Job

    before = getattr(nothing_moves, "before", None)
    nothing_moves.before = Job.objects.count()
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
