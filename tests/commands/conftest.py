"""The verbs as they are called, on the database under test."""

import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from mainspring import job as machine
from mainspring.brokers.base import WorkerInfo
from mainspring.compat import task_backends
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import State
from tests.app import tasks


def pytest_collection_modifyitems(items):
    for item in items if settings.STORE == "redis" else ():
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("django_db") is None:
            # In the usual test's transaction a job would wait in the outbox for a commit that never comes.
            item.add_marker(pytest.mark.django_db(transaction=True), append=False)


@dataclass
class Ran:
    """What a verb wrote, and with what it exited."""

    out: str
    err: str
    code: int

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        """What people read, without the spaces that align it."""
        return [" ".join(line.split()) for line in self.out.splitlines()]


@pytest.fixture
def mainspring(db):
    """Run a verb: `mainspring("status", "--json").json`; CommandError passes through."""

    def run(*words):
        out, err = StringIO(), StringIO()
        code = 0
        try:
            call_command("mainspring", *words, stdout=out, stderr=err)
        except SystemExit as end:
            code = end.code
        return Ran(out.getvalue(), err.getvalue(), code)

    return run


@pytest.fixture
def broker(db):
    return task_backends["default"].broker


@pytest.fixture
def ended(broker):
    """Let `number` jobs end in this state, now."""

    def ended(state=State.SUCCEEDED, number=1):
        for _ in range(number):
            tasks.noop.enqueue()
        at = broker.clock.moment()
        error = machine.error_entry("builtins.ValueError", "ValueError: boom")
        claimed = broker.claim("w1", ["default"], number)
        broker.settle([machine.fail(job, error, started_at=at, at=at, state=state) for job in claimed])

    return ended


@pytest.fixture
def beat(broker):
    """Let workers with these ids beat once."""

    def beat(*ids, **facts):
        broker.beat([WorkerInfo(id=id, facts={"host": "web-1", "pid": 4711, **facts}) for id in ids])

    return beat


@pytest.fixture
def two_backends(settings):
    """A second alias in the same database, with a queue of its own."""
    settings.TASKS = {
        "default": {**settings.TASKS["default"], "QUEUES": ["default", "mail"]},
        "reports": {**settings.TASKS["default"], "QUEUES": ["reports"]},
    }


@pytest.fixture
def away(broker):
    """The store is away until the function that this returns is called."""

    def refuse(*_, **__):
        raise BrokerUnavailable("DATABASES['default']: connection refused\nIs the server running?")

    # One of its own, so that to undo it leaves what else a test has patched.
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("check", "beat", "push"):
            patch.setattr(broker, verb, refuse)
        yield patch.undo
