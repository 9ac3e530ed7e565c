"""A process that dies anywhere between the commit and the delivery of its jobs: nothing is lost, nothing doubled."""

import os
import signal
import subprocess
import sys

import pytest
from django.db import connections

from mainspring import outbox
from mainspring.job import State
from mainspring.testing import drain, travel
from tests.app import tasks
from tests.app.models import Note

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

START = """
import os, signal, django
django.setup()
from datetime import timedelta
from django.db import connections, transaction
from mainspring import enqueue_many, outbox
from mainspring.compat import task_backends
from mainspring.outbox_table import OutboxTable
from mainspring.testing import travel
from tests.app import tasks

broker = task_backends["default"].broker

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def before(owner, name):
    setattr(owner, name, die)

def after(owner, name):
    real = getattr(owner, name)
    setattr(owner, name, lambda *args, **options: (real(*args, **options), die()))

connections["other"].ensure_connection()
broker.check()
{kill}
"""
ENQUEUE = """
with transaction.atomic(using="other"):
    tasks.note.enqueue("single")
    enqueue_many(tasks.note, [("first",), ("second",)])
    tasks.note.using(run_after=timedelta(hours=1)).enqueue("later")
"""
SWEEP = """
with travel(10):
    outbox.sweep(broker)
"""
UNCOMMITTED = {
    "before the row": 'before(OutboxTable, "insert")',
    "after the row": 'after(OutboxTable, "insert")',
    "before the commit": 'before(connections["other"], "_commit")',
}
COMMITTED = {
    "after the commit": 'after(connections["other"], "_commit")',
    "before the delivery": 'before(type(broker), "push")',
    "after the delivery": 'after(type(broker), "push")',
    "before the row is deleted": 'before(OutboxTable, "delete")',
    "after the row is deleted": 'after(OutboxTable, "delete")',
}
SWEPT = {name: kill for name, kill in COMMITTED.items() if name != "after the commit"} | {
    "before the sweep's commit": 'before(connections["other"], "_commit")',
    "after the sweep's commit": 'after(connections["other"], "_commit")',
}
NOW = ["first", "second", "single"]


def run(code, kill):
    """Run code in a process that dies on the way."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    code = START.format(kill=kill) + code
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def ran(broker):
    """What has run when a worker has swept up; the deferred job is counted too, and runs as well."""
    with travel(10):
        outbox.sweep(broker)
        outbox.sweep(broker)
    drain()
    deferred = broker.search(states=[State.DEFERRED])
    with travel(4000):
        broker.promote(10)
        drain()
    with connections["other"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM mainspring_outbox")
        assert cursor.fetchone() == (0,)
    return sorted(Note.objects.values_list("text", flat=True)), len(deferred)


@pytest.mark.parametrize("kill", UNCOMMITTED.values(), ids=UNCOMMITTED)
def test_what_was_not_committed_never_runs(broker, kill):
    """Whatever had been written by then."""
    run(ENQUEUE, kill)

    assert ran(broker) == ([], 0)


@pytest.mark.parametrize("kill", COMMITTED.values(), ids=COMMITTED)
def test_what_was_committed_runs_once(broker, kill):
    """One job, many, and one that is deferred."""
    run(ENQUEUE, kill)

    assert ran(broker) == ([*NOW[:1], "later", *NOW[1:]], 1)


@pytest.mark.parametrize("kill", SWEPT.values(), ids=SWEPT)
def test_a_sweep_that_dies_is_made_good_by_the_next(broker, kill):
    """It had sent some, all or none."""
    run(ENQUEUE, COMMITTED["after the commit"])
    run(SWEEP, kill)

    assert ran(broker) == ([*NOW[:1], "later", *NOW[1:]], 1)


def test_the_notes_would_show_a_second_run(broker):
    """What is asserted above can fail."""
    tasks.note.enqueue("single")
    tasks.note.enqueue("single")

    assert ran(broker) == (["single", "single"], 0)
