"""A worker that starts before its database is ready for it."""

import os
import signal
import subprocess
import sys

import django
import pytest

from tests.processes.conftest import WorkerCommand

SETTINGS = f"""
INSTALLED_APPS = [{'"django_tasks", ' if django.VERSION < (6, 0) else ""}"mainspring"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "early.sqlite3"}}}}
TASKS = {{"default": {{"BACKEND": "mainspring.backends.DatabaseBackend"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
"""


@pytest.fixture
def early(tmp_path, monkeypatch):
    """A worker of a project whose database has no tables."""
    (tmp_path / "early_settings.py").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "early_settings")
    worker = WorkerCommand(DJANGO_SETTINGS_MODULE="early_settings")
    yield worker
    worker.end()


def migrate():
    subprocess.run([sys.executable, "-m", "django", "migrate", "--verbosity", "0"], check=True)


def test_a_worker_waits_for_the_tables_and_goes_on_by_itself(early):
    """It says what it waits for and what helps, and needs no second start."""
    early.wait_for_line("run `manage.py migrate --database default`")
    migrate()
    early.wait_for_line("is ready")
    early.terminate()

    assert early.wait() == 0, early.output


def test_hup_does_not_end_the_wait(early):
    """There is nothing to replace yet, and no process could do anything."""
    early.wait_for_line("Starting a worker")
    early.process.send_signal(signal.SIGHUP)
    early.wait_for_line("run `manage.py migrate --database default`")
    early.process.send_signal(signal.SIGHUP)
    early.wait_for_line("SIGHUP")
    migrate()
    early.wait_for_line("is ready")

    assert "cannot be used" not in early.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_before_it_has_begun_ends_clean(early, number):
    """One program replaces another just then, and neither may lose the signal."""
    early.wait_for_line("Starting a worker")
    early.process.send_signal(number)

    assert early.wait() == 0, early.output
