"""delete: ended jobs go, and no others."""

from tests.contract import jobs


def test_ended_jobs_go(broker):
    """Those that are named, and how many there were; nothing of them is left."""
    gone, kept = jobs.finished(broker), jobs.finished(broker)

    assert broker.delete([gone[0].id]) == 1
    assert broker.search() == kept
    assert broker.get(gone[0].id) is None
    assert [count.number for count in broker.counts(0)] == [1]


def test_live_jobs_stay(broker):
    """Whatever they do."""
    live = [*jobs.crashed(broker), *jobs.claimed(broker), *jobs.pushed(broker)]
    live += jobs.pushed(broker, run_after=broker.clock.moment() + 60_000_000)
    before = broker.search()

    assert broker.delete(jobs.ids(live)) == 0
    assert broker.search() == before


def test_what_is_not_there(broker):
    """Unknown ids, none, and one that has gone already."""
    (job,) = jobs.finished(broker)
    broker.delete([job.id])

    assert broker.delete([job.id, "unknown"]) == 0
    assert broker.delete([]) == 0


def test_the_id_is_free_again(broker):
    """A new job may have it."""
    (job,) = jobs.finished(broker)
    broker.delete([job.id])

    new = jobs.new(broker, id=job.id)
    broker.push([new])

    assert broker.get(job.id) == new
