"""One broker for each alias of TASKS in a process, whatever thread asks."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import override_settings

from mainspring.backends import broker_for
from mainspring.brokers.memory import MemoryBroker
from mainspring.compat import InvalidTaskBackend, task_backends
from tests.stores import only_databases

WITHOUT_THE_APP = """
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TASKS={"default": {"BACKEND": "mainspring.backends.DatabaseBackend"}},
    INSTALLED_APPS=["django_tasks"] if __import__("django").VERSION < (6, 0) else [],
)
import django
django.setup()
from mainspring.compat import task_backends
try:
    task_backends["default"].broker
except django.core.exceptions.ImproperlyConfigured as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def _empty_brokers(transactional_db):
    """Tests before this one may have left brokers of theirs."""


def test_all_threads_share_a_broker(alias):
    """Django gives each thread a backend of its own; wake-ups and clocks are the process's."""
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: task_backends[alias].broker, range(32)))
    assert found == {broker_for(alias)}


def test_a_change_of_the_settings_makes_new_brokers():
    """As Django makes new backends."""
    before = broker_for("default")
    with override_settings(TASKS={"default": {"BACKEND": "mainspring.backends.MemoryBackend"}}):
        assert isinstance(broker_for("default"), MemoryBroker)
    assert isinstance(broker_for("default"), type(before))
    assert broker_for("default") is not before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_makes_new_brokers():
    """A lock or a socket of the parent would be of no use there."""
    before = broker_for("memory")
    pid = os.fork()
    if pid == 0:
        os._exit(broker_for("memory") is before)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@only_databases
def test_the_database_is_the_one_of_the_option_or_of_the_routers():
    """None means memory."""
    assert broker_for("default").using == "default"
    options = {"BACKEND": "mainspring.backends.DatabaseBackend", "OPTIONS": {"database": "other"}}
    with override_settings(TASKS={"default": options}):
        assert broker_for("default").using == "other"
    with override_settings(DATABASE_ROUTERS=[ToOther()], TASKS={"default": options | {"OPTIONS": {}}}):
        assert broker_for("default").using == "other"
    assert isinstance(broker_for("memory"), MemoryBroker)


class ToOther:
    def db_for_write(self, model, **hints):
        return "other"


def test_an_unknown_alias_is_djangos_error():
    with pytest.raises(InvalidTaskBackend):
        broker_for("nonsense")


def test_without_the_app_the_way_out_is_named():
    """Before anything is stored."""
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_APP],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.returncode == 0, output.stderr
    assert 'Add "mainspring" to INSTALLED_APPS' in output.stdout
