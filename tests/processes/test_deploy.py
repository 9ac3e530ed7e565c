"""A deploy under load: for a while workers and web processes of the old and of the new code share one store."""

import collections
import os
import subprocess
import sys

import pytest

from mainspring.compat import task_backends
from mainspring.job import ENDS, LIVE, State
from tests.app.models import Note
from tests.processes.conftest import SOON, wait_until

SETTINGS = """
from tests.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
"""
TASKS = """
import threading

from mainspring import task
from tests.app.models import Note


@task
def steady(number):
    threading.Event().wait(0.05)
    Note.objects.create(text=f"{release} steady {{number}}")


@task
def only_{release}(number):
    threading.Event().wait(0.05)
    Note.objects.create(text=f"{release} only_{release} {{number}}")
"""
ENQUEUE = """
import itertools, pathlib, time, django
django.setup()
from shop import tasks
for number in itertools.count({first}):
    tasks.steady.enqueue(number)
    tasks.only_{release}.enqueue(number)
    if pathlib.Path({closed!r}).exists():
        break
    time.sleep(0.05)
"""
MANY = 1_000_000
UNSTORED = 8


class Release:
    """A folder with one version of the code; what is started here runs that version."""

    def __init__(self, name, folder, start_worker, first):
        self.name = name
        self._start_worker = start_worker
        self._first = first
        self._closed = folder / "closed"
        self._site = None
        (folder / "shop").mkdir(parents=True)
        (folder / "shop/__init__.py").write_text("")
        (folder / "shop/tasks.py").write_text(TASKS.format(release=name))
        (folder / "deploy_settings.py").write_text(SETTINGS)
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        self._environment = {"DJANGO_SETTINGS_MODULE": "deploy_settings", "PYTHONPATH": path}

    def worker(self):
        worker = self._start_worker("--shutdown-timeout", "20", **self._environment)
        worker.wait_for_line("is ready")
        return worker

    def open_site(self):
        """Enqueue jobs of this release's tasks until the site is closed."""
        code = ENQUEUE.format(release=self.name, first=self._first, closed=str(self._closed))
        self._site = subprocess.Popen([sys.executable, "-c", code], env=os.environ | self._environment)

    def close_site(self):
        self._closed.touch()
        assert self._site.wait(SOON) == 0

    def end(self):
        if self._site:
            self._site.kill()
            self._site.wait()


@pytest.fixture
def old(tmp_path, start_worker):
    release = Release("old", tmp_path / "old", start_worker, first=0)
    yield release
    release.end()


@pytest.fixture
def new(tmp_path, start_worker):
    release = Release("new", tmp_path / "new", start_worker, first=MANY)
    yield release
    release.end()


def test_a_deploy_under_load_burns_no_attempt(old, new, broker):
    """Workers are told to stop, one politely and one twice, while both releases enqueue and run jobs."""
    first, second = old.worker(), old.worker()
    old.open_site()
    wait_until(lambda: Note.objects.count() > 10)
    new.open_site()
    first.wait_for_line("only_new")  # a task of the new site that no worker knows as yet
    first.terminate()
    new.worker()
    assert first.wait() == 0, first.output
    old.close_site()
    wait_until(lambda: not broker.search(states=LIVE, task_path="shop.tasks.only_old", limit=1))
    wait_until(lambda: broker.held_by(worker_ids(second), 1))
    second.terminate()
    second.wait_for_line("stopping")
    second.terminate()
    assert second.wait(10) in {0, 130}, second.output  # 0 if the last of its jobs had just ended
    new.close_site()
    wait_until(lambda: not broker.search(states=LIVE, limit=1))

    ended = broker.search(states=ENDS, limit=100_000)
    assert {(job.state, job.attempts, job.crashes, job.errors) for job in ended} == {(State.SUCCEEDED, 1, 0, "[]")}
    assert_each_ran(ended)


def test_jobs_of_the_old_code_alone_wait_for_a_rollback(old, new, broker):
    """Nobody has it any more, so it waits, visibly and at no cost, and does not fail."""
    worker = new.worker()
    old.open_site()
    old.close_site()
    worker.wait_for_line("only_old")
    wait_until(lambda: broker.search(states=ENDS, limit=1))  # of the task that both releases have
    waiting = broker.search(states=LIVE, task_path="shop.tasks.only_old")
    assert {(job.state, job.attempts, job.crashes) for job in waiting} == {(State.READY, 0, 0)}
    worker.terminate()
    assert worker.wait() == 0, worker.output
    old.worker()
    wait_until(lambda: not broker.search(states=LIVE, limit=1))

    assert {job.state for job in broker.search(states=ENDS, limit=100_000)} == {State.SUCCEEDED}


def worker_ids(worker):
    pids = {child.pid for child in worker.children()}
    return [found.id for found in task_backends["default"].broker.workers() if found.facts["pid"] in pids]


def assert_each_ran(ended):
    """Each by a release that has its task, and again only if it was cut off, or its outcome not stored yet."""
    notes = [note.split() for note in Note.objects.values_list("text", flat=True)]
    ways = {("old", "steady"), ("new", "steady"), ("old", "only_old"), ("new", "only_new")}
    assert {(release, name) for release, name, _ in notes} == ways
    times = collections.Counter((name, number) for _, name, number in notes)
    assert len(times) == len(ended)
    cut_off = sum(job.interruptions for job in ended)
    # The worker that was told twice ended at once: within `flush_after` of 10 ms its 4 threads end few of these jobs.
    assert sum(times.values()) <= len(ended) + cut_off + UNSTORED
