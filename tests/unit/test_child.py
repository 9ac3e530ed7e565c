"""A worker process, as far as one can look at it without starting one."""

import math
import socket
from types import SimpleNamespace

import pytest

from mainspring.worker.channel import Channel
from mainspring.worker.child import MOST_LEFT_ALONE, Child, ChildReports


@pytest.mark.parametrize(("trusted_until", "left"), [(107.0, 7.0), (150.0, 8.0), (math.inf, 8.0), (99.0, 0.0)])
def test_without_a_supervisor_it_finishes_before_it_can_be_taken_for_dead(trusted_until, left):
    """Counted from the last beat, which may be a while ago when the supervisor dies."""
    child = object.__new__(Child)
    child._plan = SimpleNamespace(options=SimpleNamespace(shutdown_timeout=8.0))
    child._memory = SimpleNamespace(trusted_until=lambda: trusted_until)
    child._worker = SimpleNamespace(broker=SimpleNamespace(clock=SimpleNamespace(elapsed=lambda: 100.0)))

    assert child.time_without_supervisor() == left


def test_what_it_cannot_run_is_told_when_that_changes():
    """Not with every claim, and not without end."""
    near, far = map(Channel, socket.socketpair())
    reports = ChildReports(near, SimpleNamespace(start=None, end=None), lambda: 0.0)
    many = {f"app.tasks.{number:04}" for number in range(2 * MOST_LEFT_ALONE)}
    for paths in (set(), {"b", "a"}, {"a", "b"}, set(), many):
        reports.left_alone(paths)
    reports.left_alone(many | {"later"})

    assert far.receive() == [
        {"left_alone": ["a", "b"]},
        {"left_alone": []},
        {"left_alone": sorted(many)[:MOST_LEFT_ALONE]},
    ]
    near.close()
    far.close()
