"""The pytest plugin, in the tests of a project of its own whose database is in memory."""

import django
import pytest

pytest_plugins = ["pytester"]

SETTINGS = f"""
INSTALLED_APPS = [{'"django_tasks", ' if django.VERSION < (6, 0) else ""}"mainspring"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
TASKS = {{"default": {{"BACKEND": "mainspring.backends.DatabaseBackend", "OPTIONS": {{"task_modules": ["shop"]}}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
"""

SHOP = """
import mainspring

@mainspring.task
def ship(order):
    return f"shipped {order}"
"""

TESTS = """
import asyncio
from datetime import timedelta

import mainspring
import pytest
from asgiref.sync import sync_to_async
from django.test import TestCase, TransactionTestCase
from mainspring.testing import drain
from shop import ship

@pytest.mark.django_db
def test_drain(mainspring_drain):
    result = ship.enqueue(1)
    assert mainspring_drain() == 1
    assert result.get(timeout=0) == "shipped 1"

@pytest.mark.django_db
def test_nothing_is_left():
    assert drain() == 0

@pytest.mark.django_db
@pytest.mark.parametrize("time", [1, 2])
def test_every_test_begins_at_the_same_time(time, mainspring_drain, mainspring_travel):
    ship.using(run_after=timedelta(hours=2)).enqueue(1)
    mainspring_travel(timedelta(hours=1))
    assert mainspring_drain() == 0
    mainspring_travel("1h")
    assert mainspring_drain("default", raise_errors=False) == 1

class Shipping:
    def test_sync(self):
        with self.captureOnCommitCallbacks(execute=True):
            result = ship.enqueue(1)
        drain()
        self.assertEqual(result.get(timeout=0), "shipped 1")

    async def test_async(self):
        result = await ship.aenqueue(1)
        await sync_to_async(drain)()
        self.assertEqual(await result.aget(timeout=0), "shipped 1")

class TestInATransaction(Shipping, TestCase):
    async def test_a_wait_that_cannot_end(self):
        result = await ship.aenqueue(1)
        with self.assertRaises(mainspring.NotSentYet):
            await result.aget(timeout=10)

class TestWithCommits(Shipping, TransactionTestCase):
    captureOnCommitCallbacks = TestCase.captureOnCommitCallbacks

    async def test_a_wait(self):
        result = await ship.aenqueue(1)
        wait = asyncio.create_task(result.aget(timeout=10))
        await sync_to_async(drain)()
        self.assertEqual(await wait, "shipped 1")
"""

WITHOUT_DJANGO = """
def test_sum():
    assert 1 + 1 == 2
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run these tests in a process of their own, as a project does."""
    monkeypatch.syspath_prepend(pytester.path)

    def run(tests, *options):
        pytester.makepyfile(shop=SHOP, project_settings=SETTINGS, test_project=tests)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run


def test_the_fixtures_in_a_project(run):
    """Installed is enough; each test begins with an empty queue and the time of its day."""
    outcome = run(TESTS, "--ds", "project_settings", "-W", "error")

    outcome.assert_outcomes(passed=10)


def test_the_fixtures_explain_themselves(run):
    """`pytest --fixtures` names them."""
    outcome = run(TESTS, "--ds", "project_settings", "--fixtures")

    outcome.stdout.fnmatch_lines_random(["    Run what has been enqueued*", "    Move the queue's clock*"])


def test_a_project_without_django_is_left_alone(run):
    """Whoever has it installed for another project notices nothing."""
    outcome = run(WITHOUT_DJANGO, "-p", "no:django")

    outcome.assert_outcomes(passed=1)
