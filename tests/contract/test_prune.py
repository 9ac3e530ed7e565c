"""prune: ended jobs are deleted when they are old enough, and nothing else ever is."""

import pytest

from mainspring import job as machine
from mainspring.job import ENDS, State
from tests.contract import jobs
from tests.contract.threads import together


def ended(broker, state=State.SUCCEEDED):
    """Let a job end in this state, now."""
    (job,) = jobs.claimed(broker)
    at = broker.clock.tick()
    job = machine.fail(job, jobs.BOOM, started_at=at, at=at, state=state)
    broker.settle([job])
    return job


def test_old_enough(broker):
    """Jobs go that ended before the moment; one that ended at that very moment stays."""
    old, edge = ended(broker), ended(broker)
    young = ended(broker)

    assert broker.prune(ENDS, edge.finished_at, 100) == 1
    assert broker.get(old.id) is None
    assert {edge, young} == set(broker.search())


@pytest.mark.parametrize("state", sorted(ENDS))
def test_only_the_states_named(broker, state):
    """Each end has its own time to live: only the states that are named go."""
    all_ends = {each: ended(broker, each) for each in ENDS}

    assert broker.prune([state], broker.clock.tick(), 100) == 1
    assert jobs.ids(all_ends.values()) - jobs.ids(broker.search()) == {all_ends[state].id}


def test_live_jobs_never(broker):
    """Live jobs stay, however old, even when their state is named by mistake."""
    live = [*jobs.claimed(broker), *jobs.pushed(broker)]
    live += jobs.pushed(broker, run_after=broker.clock.moment() + 60_000_000)
    broker.clock.travel(10_000_000)

    assert broker.prune(State, broker.clock.moment(), 100) == 0
    assert jobs.ids(broker.search()) == jobs.ids(live)


def test_limit(broker):
    """No more go than the limit, those that ended first before the others."""
    first, second, third = (ended(broker) for _ in range(3))

    assert broker.prune(ENDS, broker.clock.tick(), 2) == 2
    assert broker.search() == [third]
    assert broker.prune(ENDS, broker.clock.tick(), 2) == 1
    assert broker.prune(ENDS, broker.clock.tick(), 2) == 0
    assert broker.get(first.id) is broker.get(second.id) is None


def test_oldest_of_several_states_first(broker):
    """The limit is one for all states together."""
    kinds = [State.FAILED, State.SUCCEEDED, State.FAILED, State.CANCELLED]
    last = [ended(broker, state) for state in kinds][2:]

    assert broker.prune([State.CANCELLED, State.FAILED, State.SUCCEEDED], broker.clock.tick(), 2) == 2
    assert set(broker.search()) == set(last)


def test_dry_run(broker):
    """A dry run tells how many would go and deletes none."""
    for _ in range(3):
        ended(broker)

    assert broker.prune(ENDS, broker.clock.tick(), 2, dry_run=True) == 2
    assert broker.prune(ENDS, broker.clock.tick(), 100, dry_run=True) == 3
    assert len(broker.search()) == 3


def test_nothing(broker):
    """Where nothing is old enough, or no state is named, nothing goes."""
    job = ended(broker)

    assert broker.prune(ENDS, job.finished_at - 1, 100) == 0
    assert broker.prune([], broker.clock.tick(), 100) == 0
    assert broker.search() == [job]


def test_hundreds(broker):
    """Many can go in one call."""
    jobs.finished(broker, 600)

    assert broker.prune([State.SUCCEEDED], broker.clock.tick(), 1_000) == 600
    assert broker.search() == []


def test_pruned_by_many(broker):
    """Several can prune at the same time; together they count each job once."""
    jobs.finished(broker, 200)
    before = broker.clock.tick()

    def prune():
        return sum(broker.prune(ENDS, before, 30) for _ in range(4))

    pruned = sum(together(broker, *[prune] * 3))

    assert pruned + broker.prune(ENDS, before, 1_000) == 200
    assert broker.search() == []


def test_settle_after_prune(broker):
    """The repeat of a write whose outcome has been pruned is not accepted and does not bring the job back."""
    (job,) = jobs.finished(broker)
    broker.prune(ENDS, broker.clock.tick(), 100)

    assert broker.settle([job]) == set()
    assert broker.get(job.id) is None
