"""A worker process, as far as one can look at it without starting one."""

import math
from types import SimpleNamespace

import pytest

from mainspring.worker.child import Child


@pytest.mark.parametrize(("trusted_until", "left"), [(107.0, 7.0), (150.0, 8.0), (math.inf, 8.0), (99.0, 0.0)])
def test_without_a_supervisor_it_finishes_before_it_can_be_taken_for_dead(trusted_until, left):
    """Counted from the last beat, which may be a while ago when the supervisor dies."""
    child = object.__new__(Child)
    child._plan = SimpleNamespace(options=SimpleNamespace(shutdown_timeout=8.0))
    child._memory = SimpleNamespace(trusted_until=lambda: trusted_until)
    child._worker = SimpleNamespace(broker=SimpleNamespace(clock=SimpleNamespace(elapsed=lambda: 100.0)))

    assert child.time_without_supervisor() == left
