"""When a worker looks for work."""

import pytest

from mainspring.worker.looks import ONCE_MORE, SOON, Looks


@pytest.fixture
def looks():
    looks = Looks()
    looks.begin(0.0)
    looks.end(0.0, found=False, was_woken=False)
    return looks


def test_a_new_worker_looks_at_once():
    assert Looks().is_due(0.0)


def test_nobody_looks_for_nothing(looks):
    """A look that nobody asked for and that found nothing is the last."""
    assert looks.are_over
    assert looks.next_at(5.0) is None
    assert not looks.is_due(1e9)


def test_a_call_in_vain_is_followed_by_one_more_look(looks):
    """The next call may have been held back."""
    looks.wake()
    assert looks.is_due(1.0)
    assert looks.next_at(1.0) == 1.0

    assert looks.begin(1.0)
    looks.end(1.0, found=False, was_woken=True)

    assert looks.next_at(1.0) == 1.0 + ONCE_MORE
    assert not looks.begin(1.0 + ONCE_MORE)
    looks.end(1.0 + ONCE_MORE, found=False, was_woken=False)
    assert looks.are_over


def test_after_a_find_there_are_two_more(looks):
    """One soon, as others may follow; one when no call can have been held back any more."""
    looks.wake()
    looks.end(1.0, found=True, was_woken=looks.begin(1.0))

    times = []
    while not looks.are_over:
        now = looks.next_at(1.0)
        times.append(round(now - 1.0, 6))
        looks.end(now, found=False, was_woken=looks.begin(now))

    assert times == [SOON, ONCE_MORE]


def test_a_look_for_another_reason_changes_nothing(looks):
    """A claim that rides with outcomes, and finds nothing, does not stand for the one to come."""
    looks.wake()
    looks.end(1.0, found=False, was_woken=looks.begin(1.0))

    looks.end(1.01, found=False, was_woken=looks.begin(1.01))

    assert looks.next_at(1.01) == 1.0 + ONCE_MORE
