"""Code that changes under a running worker: at every change with --reload, and on HUP in production."""

import itertools
import os
import signal
import subprocess
import sys

import django
import pytest

from tests.processes.conftest import WorkerCommand, wait_until

SETTINGS = f"""
INSTALLED_APPS = [{'"django_tasks", ' if django.VERSION < (6, 0) else ""}"mainspring", "shop"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "reload.sqlite3"}}}}
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates"]}}]
TASKS = {{"default": {{"BACKEND": "mainspring.backends.DatabaseBackend"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
"""
TASKS = """
import pathlib, threading
from mainspring import task

@task
def version():
    return {version}

@task
def hold():
    pathlib.Path("held").touch()
    while not pathlib.Path("let go").exists():
        threading.Event().wait(0.01)
    return "finished"
"""


class Project:
    """A project of its own in a folder, whose code the tests change."""

    def __init__(self, folder):
        self.folder = folder
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        self.environment = {"DJANGO_SETTINGS_MODULE": "reload_settings", "PYTHONPATH": path}
        self.workers = []
        (folder / "shop").mkdir()
        (folder / "templates").mkdir()
        self.write("shop/__init__.py", "")
        self.write("templates/page.html", "one")
        self.write("reload_settings.py", SETTINGS)
        self.write("shop/models.py", "")
        self.write_version(1)
        self.run("-m", "django", "migrate", "--verbosity", "0")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def write_version(self, number):
        self.write("shop/tasks.py", TASKS.format(version=number) + "\n" * number)

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def enqueue(self, name):
        code = f"import django; django.setup(); from shop.tasks import {name}; print({name}.enqueue().id)"
        return self.run("-c", code)

    def result(self, id, timeout=30):
        code = (
            "import django; django.setup(); from mainspring.compat import task_backends;"
            f"print(task_backends['default'].get_result('{id}').get(timeout={timeout}))"
        )
        return self.run("-c", code)

    def start(self, *flags):
        worker = WorkerCommand(*flags, module="mainspring", cwd=self.folder, **self.environment)
        self.workers.append(worker)
        return worker


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    yield project
    for worker in project.workers:
        worker.end()
        print(worker.output)


def test_new_code_runs_after_a_change(project):
    """Also of a module that was loaded only when its first job came."""
    worker = project.start("--reload")
    assert project.result(project.enqueue("version")) == "1"
    # The supervisor asks once a second which modules there are; until then a change is none that it could know of.
    numbers = itertools.count(2)
    wait_until(lambda: project.write_version(next(numbers)) or "tasks.py has changed" in worker.output)
    project.write_version(100)
    wait_until(lambda: project.result(project.enqueue("version")) == "100")


def test_running_jobs_finish_before_the_new_code_takes_over(project):
    """Nothing is cut off."""
    worker = project.start("--reload")
    id = project.enqueue("hold")
    wait_until((project.folder / "held").exists)
    worker.wait_for_line("is ready")  # the supervisor then knows what there is to watch
    project.write("templates/page.html", "two!")
    worker.wait_for_line("page.html has changed")
    worker.wait_for_line("is ready", count=2)
    project.write("let go", "")

    assert project.result(id) == "finished"


def test_a_syntax_error_is_waited_out(project):
    """At the start and later: with its message, and without a loop of failing starts."""
    project.write("shop/models.py", "def broken(:\n")
    worker = project.start("--reload")
    worker.wait_for_line("SyntaxError")
    worker.wait_for_line("Waiting for a change of the code")
    assert worker.output.count("cannot load the code") == 1
    project.write("shop/models.py", "good = True\n")
    worker.wait_for_line("is ready")
    project.write("shop/models.py", "def broken again(:\n")
    worker.wait_for_line("Waiting for a change of the code", count=2)
    project.write("shop/models.py", "good = True  # again\n")
    worker.wait_for_line("is ready", count=2)

    assert project.result(project.enqueue("version")) == "1"


def test_a_thread_that_broken_code_has_left_behind_holds_nobody_up(project):
    """The process ends all the same, and the next one starts when the code is right."""
    project.write(
        "shop/models.py", "import threading\nthreading.Thread(target=threading.Event().wait).start()\n1 / 0\n"
    )
    worker = project.start("--reload")
    worker.wait_for_line("ZeroDivisionError")
    worker.wait_for_line("Waiting for a change of the code")
    project.write("shop/models.py", "")
    worker.wait_for_line("is ready")


def test_broken_settings_are_waited_out(project):
    """Also when the supervisor itself cannot start."""
    project.write("reload_settings.py", SETTINGS + "broken(\n")
    worker = project.start("--reload")
    worker.wait_for_line("Waiting for a change of the code")
    project.write("reload_settings.py", SETTINGS)
    worker.wait_for_line("is ready")
    project.write("reload_settings.py", SETTINGS + "broken again(\n")
    worker.wait_for_line("Waiting for a change of the code", count=2)
    project.write("reload_settings.py", SETTINGS + "# good\n")
    worker.wait_for_line("is ready", count=2)

    assert project.result(project.enqueue("version")) == "1"


def test_hup_replaces_the_processes_one_by_one(project):
    """In production, where no file is watched: jobs that run finish with the old code, later ones have the new."""
    worker = project.start("--no-reload")
    assert project.result(project.enqueue("version")) == "1"
    id = project.enqueue("hold")
    wait_until((project.folder / "held").exists)
    project.write_version(2)
    worker.process.send_signal(signal.SIGHUP)
    worker.wait_for_line("is ready", count=2)

    assert project.result(project.enqueue("version")) == "2"
    project.write("let go", "")
    assert project.result(id) == "finished"
    wait_until(lambda: len(worker.children()) == 1)


def test_hup_with_broken_code_leaves_the_old_processes_at_work(project):
    """A deploy that went wrong stops nothing."""
    worker = project.start("--no-reload")
    worker.wait_for_line("is ready")
    project.write("shop/models.py", "def broken(:\n")
    worker.process.send_signal(signal.SIGHUP)
    worker.wait_for_line("go on with the old one")
    project.write("shop/models.py", "")

    assert project.result(project.enqueue("version")) == "1"
