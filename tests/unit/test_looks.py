"""When a worker looks for work."""

import pytest

from mainspring.worker.looks import SOON, STREAM, Looks


@pytest.fixture
def looks():
    looks = Looks()
    looks.begin(0.0)
    return looks


def test_a_new_worker_looks_at_once():
    assert Looks().is_due(0.0)


def test_nobody_looks_for_nothing(looks):
    """A look that found nothing is the last until somebody calls."""
    assert looks.are_over
    assert looks.next_at(5.0) is None
    assert not looks.is_due(1e9)

    looks.wake()

    assert not looks.are_over
    assert looks.is_due(1.0)
    assert looks.next_at(1.0) == 1.0
    assert looks.begin(1.0)
    assert looks.are_over


def test_a_job_that_comes_alone_costs_no_second_look(looks):
    """Idle processes stay idle."""
    looks.found(1.0)
    assert looks.are_over

    looks.found(1.0 + STREAM)
    assert looks.are_over


def test_in_a_stream_the_next_look_comes_soon(looks):
    """Until one finds nothing."""
    looks.found(1.0)
    looks.found(1.02)
    assert looks.next_at(1.02) == 1.02 + SOON

    assert not looks.begin(1.04)
    looks.found(1.04)
    assert looks.next_at(1.04) == 1.04 + SOON

    looks.begin(1.06)
    assert looks.are_over


def test_a_look_for_another_reason_does_not_stand_for_the_next(looks):
    """A claim that only rides with outcomes, a moment after a find, finds nothing."""
    looks.found(1.0)
    looks.found(1.02)

    looks.begin(1.021)

    assert looks.next_at(1.021) == 1.02 + SOON
