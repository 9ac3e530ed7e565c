"""Judging which workers are dead."""

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.worker.watch import Watch


def beating(beat):
    return [WorkerInfo(id="w", beat=beat)]


def test_a_beat_that_stands_still_for_a_whole_lease_is_a_death():
    """Nine seconds of silence that this process has listened to itself are enough."""
    watch = Watch(lease=9)
    assert [watch.look(beating(1), at) for at in (0, 4, 8.9)] == [[], [], []]

    assert watch.look(beating(1), 9) == ["w"]


@pytest.mark.parametrize(("facts", "dead_at"), [({"rescue_after": 30}, 18), ({"rescue_after": 5}, 9), ({}, 9)])
def test_a_worker_that_beats_more_rarely_than_this_one_has_its_own_lease(facts, dead_at):
    """It was started with another `rescue_after`: by a flag, or by a deploy that is under way."""
    watch, worker = Watch(lease=9), [WorkerInfo(id="w", beat=1, facts=facts)]
    looks = {at: watch.look(worker, at) for at in (0, 4, 8, 9, 14, 17.9)}
    looks[18] = watch.look(worker, 18)

    assert next(at for at, dead in looks.items() if dead) == dead_at


def test_a_beat_that_moves_begins_a_new_lease():
    """Any change is a sign of life, whatever the clocks say."""
    watch = Watch(lease=9)
    watch.look(beating(1), 0)
    watch.look(beating(2), 8)

    assert watch.look(beating(2), 16) == []
    assert watch.look(beating(2), 17) == ["w"]


def test_an_outage_begins_every_watch_anew():
    """After a failed look nobody can say that a beat stood still."""
    watch = Watch(lease=9)
    watch.look(beating(1), 0)
    watch.restart()

    assert watch.look(beating(1), 10) == []


def test_a_watcher_that_was_itself_stopped_judges_nobody():
    """A gap between two looks as long as a lease is the watcher's own silence."""
    watch = Watch(lease=9)
    watch.look(beating(1), 0)

    assert watch.look(beating(1), 60) == []
    assert watch.look(beating(1), 64) == []
    assert watch.look(beating(1), 69) == ["w"]


def test_the_next_look_comes_when_the_first_lease_runs_out():
    """A death is seen at its time, not one usual pause later."""
    watch = Watch(lease=9)
    watch.look(beating(1), 0)
    watch.look(beating(1), 5)

    assert watch.next_look(5, usual=5) == 4
    assert watch.next_look(0, usual=5) == 5
