"""Where running code stands, asked through the store and answered by the worker."""

import json
import os
import subprocess
import sys

import pytest

from mainspring.compat import task_backends
from tests.app import hard, tasks
from tests.app.models import Note
from tests.processes.conftest import wait_until


def mainspring(*words):
    command = [sys.executable, "-m", "django", "mainspring", *words, "--skip-checks"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def stack_of(id, *flags):
    return mainspring("stack", id, *flags)


@pytest.mark.parametrize(
    ("task", "args", "line"),
    [
        (tasks.note_and_hang, ["sync"], "in note_and_hang"),
        (tasks.async_note_and_hang, ["async"], "in async_note_and_hang"),
        (hard.hold_briefly, [30], "hold_briefly"),
    ],
)
def test_the_stack_of_a_running_job(start_worker, task, args, line):
    """Of a thread, of a coroutine, and of a job that keeps its process from answering."""
    result = task.enqueue(*args)
    start_worker()
    wait_until(Note.objects.exists)
    shown = stack_of(result.id)

    assert shown.returncode == 0, shown.stderr
    assert line in shown.stdout
    assert "tasks.py" in shown.stdout or "hard.py" in shown.stdout


def test_the_answer_as_json(start_worker):
    """For scripts."""
    result = tasks.note_and_hang.enqueue("sync")
    start_worker()
    wait_until(Note.objects.exists)
    shown = json.loads(stack_of(result.id, "--json").stdout)

    assert (shown["id"], shown["task"], shown["attempt"]) == (result.id, "tests.app.tasks.note_and_hang", 1)
    assert "note_and_hang" in shown["stack"]


def test_a_job_that_does_not_run_has_no_stack(start_worker):
    """The message says what it is instead."""
    result = tasks.noop.enqueue()

    assert "is ready; only a running job has a stack" in stack_of(result.id).stderr
    assert "There is no job 'nonsense'" in stack_of("nonsense").stderr


def test_a_worker_that_is_gone_does_not_answer(start_worker, broker):
    """The wait has an end."""
    tasks.noop.enqueue()
    [job] = broker.claim("nobody", None, 1)

    assert "has not answered within 0.5 s" in stack_of(job.id, "--timeout", "0.5").stderr


def test_workers_show_what_they_hold(start_worker):
    """With the host, the process and the memory of each."""
    result = tasks.note_and_hang.enqueue("sync")
    worker = start_worker()
    wait_until(Note.objects.exists)
    # The first beat may have looked at the process before it had loaded anything.
    wait_until(lambda: shown_worker()["memory"] > 1_000_000)
    found = shown_worker()

    assert [job["id"] for job in found["jobs"]] == [result.id]
    assert found["pid"] in [child.pid for child in worker.children()]
    assert found["is_alive"]
    assert task_backends["default"].broker.get(result.id).worker_id == found["id"]


def shown_worker():
    shown = json.loads(mainspring("workers", "--json").stdout)
    [backend] = [each for each in shown["backends"] if each["alias"] == "default"]
    [found] = backend["workers"]
    return found
