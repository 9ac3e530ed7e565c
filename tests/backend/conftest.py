"""The backends that every test here runs on: the one in memory, and the one on the database under test."""

import pytest

from mainspring.compat import task_backends
from mainspring.testing import drain

DATABASES = ["default", "other"]


@pytest.fixture(params=["memory", "default"])
def alias(request, transactional_db):
    """The alias in TASKS of an empty backend; commits are real."""
    yield request.param
    task_backends["memory"].clear()


@pytest.fixture
def backend(alias):
    return task_backends[alias]


@pytest.fixture
def broker(backend):
    return backend.broker


@pytest.fixture
def on(alias):
    """A task of this backend: `on(add).enqueue(1, 2)`."""
    return lambda task, **changes: task.using(backend=alias, **changes)


@pytest.fixture
def run(alias):
    """Run what is ready, and leave failures in the results."""
    return lambda: drain(alias, raise_errors=False)
