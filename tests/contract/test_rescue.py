"""rescue: what a dead worker held goes back or ends, charged to the right one of three counters."""

import pytest

from mainspring import job as machine
from mainspring.brokers.deaths import DOUBTS
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import together

CRASHED = "mainspring.exceptions.WorkerCrashed"
QUARANTINED = "mainspring.exceptions.Quarantined"


def counters(job):
    return {"attempts": job.attempts, "crashes": job.crashes, "interruptions": job.interruptions}


def error_paths(job):
    return [error["exception_class_path"] for error in machine.decode_list(job.errors)]


def test_crash(broker):
    """A job that ran when its worker died is charged with a crash and ready again, to run alone."""
    (job,) = jobs.claimed(broker)
    jobs.pushed(broker)

    (rescued,) = broker.rescue(["w1"], max_crashes=3)

    assert rescued == broker.get(job.id)
    assert counters(rescued) == {"attempts": 0, "crashes": 1, "interruptions": 0}
    assert (rescued.state, error_paths(rescued)) == (State.READY, [CRASHED])
    assert jobs.ids(broker.claim("w2", None, 5, alone=True)) == {job.id}


def test_crash_tells_what_happened(broker):
    """The error of a crash carries the reason, the worker and the times."""
    jobs.claimed(broker)
    broker.clock.travel(7)

    (rescued,) = broker.rescue(["w1"], max_crashes=3, reason="Signal 11.")

    (error,) = machine.decode_list(rescued.errors)
    assert error["traceback"].startswith("Signal 11.")
    assert (error["worker_id"], error["attempt"]) == ("w1", 1)
    assert error["finished_at"] - error["started_at"] == 7_000_000


def test_what_had_not_started(broker):
    """A job that was claimed but had not started goes back as if it had never been claimed."""
    started, waiting = jobs.claimed(broker, 2)

    broker.rescue(["w1"], max_crashes=3, started=[started.id])

    assert counters(broker.get(started.id))["crashes"] == 1
    assert broker.get(waiting.id) == machine.release(waiting)


def test_killed_on_purpose(broker):
    """A job whose worker was killed on purpose is interrupted, not crashed, if it had started."""
    started, waiting = jobs.claimed(broker, 2)

    broker.rescue(["w1"], max_crashes=3, started={started.id}, was_killed=True)

    assert counters(broker.get(started.id)) == {"attempts": 0, "crashes": 0, "interruptions": 1}
    assert broker.get(waiting.id) == machine.release(waiting)


def test_interruptions_never_end_a_job(broker):
    """However often its worker is killed on purpose, the job runs again."""
    jobs.pushed(broker)

    for _ in range(5):
        broker.claim("w1", None, 1)
        (rescued,) = broker.rescue(["w1"], max_crashes=1, was_killed=True)

    assert (rescued.state, rescued.interruptions, rescued.errors) == (State.READY, 5, "[]")


def test_quarantine(broker):
    """The last crash that is allowed ends the job, with the reason in its last error."""
    jobs.pushed(broker)

    for alone in (False, True, True):
        broker.claim("w1", None, 1, alone=alone)
        (rescued,) = broker.rescue(["w1"], max_crashes=3)

    assert rescued == broker.get(rescued.id)
    assert (rescued.state, rescued.finished_at) == (State.QUARANTINED, broker.clock.moment())
    assert counters(rescued) == {"attempts": 0, "crashes": 3, "interruptions": 0}
    assert error_paths(rescued) == [CRASHED, CRASHED, QUARANTINED]
    assert broker.claim("w2", None, 1) == broker.claim("w2", None, 1, alone=True) == []


def test_the_last_crash_is_seen(broker):
    """Where the supervisor died too, the crash that would end the job is an interruption, a few times."""
    jobs.pushed(broker)
    told = []

    for number in range(DOUBTS * 3):
        broker.claim("w1", None, 1, alone=number > 0)
        (rescued,) = broker.rescue(["w1"], max_crashes=3, was_seen=False)
        told.append((rescued.state, rescued.crashes, rescued.interruptions))

    spared = [(State.READY, 2, number) for number in range(1, DOUBTS * 3 - 2)]
    assert told == [(State.READY, 1, 0), (State.READY, 2, 0), *spared, (State.QUARANTINED, 3, DOUBTS * 3 - 3)]


@pytest.mark.parametrize("max_crashes", [0, 1])
def test_no_chances_are_taken(broker, max_crashes):
    """A task that allows no second run gets none, though nobody saw how its worker died."""
    jobs.claimed(broker)

    (rescued,) = broker.rescue(["w1"], max_crashes=max_crashes, was_seen=False)

    assert (rescued.state, rescued.crashes) == (State.QUARANTINED, 1)


def test_three_counters(broker):
    """An attempt, a crash and an interruption are counted apart."""
    jobs.pushed(broker)
    broker.settle([jobs.retried(broker, broker.claim("w1", None, 1)[0])])
    broker.claim("w1", None, 1)
    broker.rescue(["w1"], max_crashes=3)
    broker.claim("w1", None, 1, alone=True)

    (rescued,) = broker.rescue(["w1"], max_crashes=3, was_killed=True)

    assert counters(rescued) == {"attempts": 1, "crashes": 1, "interruptions": 1}


@pytest.mark.parametrize("was_killed", [False, True])
def test_at_most_once(broker, was_killed):
    """With `max_crashes=0` a job that had started is never run again, however its worker died."""
    (job,) = jobs.claimed(broker, max_crashes=0)

    broker.rescue(["w1"], max_crashes=3, started=[job.id], was_killed=was_killed)

    assert broker.get(job.id).state == State.QUARANTINED
    assert error_paths(broker.get(job.id)) == [QUARANTINED]


@pytest.mark.parametrize("was_killed", [False, True])
def test_at_most_once_but_not_started(broker, was_killed):
    """A job that may run once and has not started may still run."""
    (job,) = jobs.claimed(broker, max_crashes=0)

    broker.rescue(["w1"], max_crashes=3, started=[], was_killed=was_killed)

    assert broker.get(job.id) == machine.release(job)


@pytest.mark.parametrize(("own", "state"), [(1, State.QUARANTINED), (5, State.READY), (None, State.QUARANTINED)])
def test_limit_of_the_job(broker, own, state):
    """A job's own limit of crashes goes before the one that the rescuer brings."""
    jobs.claimed(broker, max_crashes=own)

    (rescued,) = broker.rescue(["w1"], max_crashes=1)

    assert rescued.state == state


def test_only_the_dead(broker):
    """Jobs of living workers, and what the dead had finished, are left alone."""
    (done,) = jobs.finished(broker, worker_id="dead")
    (living,) = jobs.claimed(broker, worker_id="living")
    (dead,) = jobs.claimed(broker, worker_id="dead")
    (dead_too,) = jobs.claimed(broker, worker_id="dead too")

    rescued = broker.rescue(["dead", "dead too", "unheard of"], max_crashes=3)

    assert jobs.ids(rescued) == {dead.id, dead_too.id}
    assert [broker.get(done.id), broker.get(living.id)] == [done, living]


def test_nothing_held(broker):
    """A dead worker may have held nothing."""
    jobs.pushed(broker)

    assert broker.rescue(["w1"], max_crashes=3) == []
    assert broker.rescue([], max_crashes=3) == []


def test_more_than_a_batch(broker):
    """Everything is taken back, batch by batch."""
    held = jobs.claimed(broker, 25)

    rescued = broker.rescue(["w1"], max_crashes=3, batch=10)

    assert jobs.ids(rescued) == jobs.ids(held)
    assert broker.held_by(["w1"], 100) == []


def test_held_by(broker):
    """What a worker holds is what it has claimed and not yet settled, up to a limit."""
    first, second, done = jobs.claimed(broker, 3)
    jobs.claimed(broker, worker_id="w2")
    broker.settle([jobs.succeeded(broker, done)])

    assert sorted(broker.held_by(["w1"], 10)) == sorted([first, second])
    assert len(broker.held_by(["w1", "w2"], 2)) == 2
    assert broker.held_by([], 10) == []


def test_settled_meanwhile(broker, monkeypatch):
    """A job that its worker still finished after the rescuer had looked is left alone."""
    late, dead = jobs.claimed(broker, 2)
    held = broker.held_by(["w1"], 10)
    broker.settle([jobs.succeeded(broker, late)])
    looks = iter([held, []])
    monkeypatch.setattr(broker, "held_by", lambda *_: next(looks))

    rescued = broker.rescue(["w1"], max_crashes=3)

    assert jobs.ids(rescued) == {dead.id}
    assert broker.get(late.id).state == State.SUCCEEDED


def test_the_dead_come_back(broker):
    """A worker that only seemed dead can no longer write; the job belongs to the next one."""
    (mine,) = jobs.claimed(broker)
    broker.rescue(["w1"], max_crashes=3)
    (theirs,) = broker.claim("w2", None, 1, alone=True)

    assert broker.settle([jobs.succeeded(broker, mine)]) == set()
    assert broker.settle([jobs.succeeded(broker, theirs)]) == {mine.id}


def test_rescued_by_many(broker):
    """Workers who find the same death at the same time charge each job once."""
    held = jobs.claimed(broker, 60)

    rescues = together(broker, *[lambda: broker.rescue(["w1"], max_crashes=3, batch=7)] * 3)

    assert jobs.ids(job for rescued in rescues for job in rescued) == jobs.ids(held)
    assert {(job.state, job.crashes) for job in broker.search(limit=100)} == {(State.READY, 1)}


def test_ended_by_two(broker, monkeypatch):
    """Two who rescue at the same time find the same jobs; an end is returned to one of them, who announces it."""
    jobs.claimed(broker)
    held_by, by_another = broker.held_by, []

    def held_by_while_another_rescues(worker_ids, limit):
        held = held_by(worker_ids, limit)
        monkeypatch.setattr(broker, "held_by", held_by)
        by_another.extend(broker.rescue(["w1"], max_crashes=1))
        broker.clock.tick()
        return held

    monkeypatch.setattr(broker, "held_by", held_by_while_another_rescues)

    assert len(broker.rescue(["w1"], max_crashes=1) + by_another) == 1
