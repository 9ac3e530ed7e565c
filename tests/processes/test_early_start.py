"""A worker that starts before its database is ready for it."""

import os
import subprocess
import sys

import django

from tests.processes.conftest import WorkerCommand

SETTINGS = f"""
INSTALLED_APPS = [{'"django_tasks", ' if django.VERSION < (6, 0) else ""}"mainspring"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "early.sqlite3"}}}}
TASKS = {{"default": {{"BACKEND": "mainspring.backends.DatabaseBackend"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
"""


def test_a_worker_waits_for_the_tables_and_goes_on_by_itself(tmp_path, monkeypatch):
    """It says what it waits for and what helps, and needs no second start."""
    (tmp_path / "early_settings.py").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {"DJANGO_SETTINGS_MODULE": "early_settings", "PYTHONPATH": path}
    worker = WorkerCommand(**environment)
    try:
        worker.wait_for_line("run `manage.py migrate --database default`")
        migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, env=os.environ | environment, check=True)

        worker.wait_for_line("is ready")
        worker.terminate()
        assert worker.wait() == 0, worker.output
    finally:
        worker.end()
