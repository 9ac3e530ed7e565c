"""get and search: every stored job can be found, live or ended."""

import pytest

from mainspring import job as machine
from mainspring.job import State
from tests.contract import jobs


def newest_first(found):
    return sorted(found, key=lambda job: job.id, reverse=True)


def test_get(broker):
    """A job is found by its id in every state of its life."""
    (job,) = jobs.pushed(broker)
    assert broker.get(job.id) == job

    (job,) = broker.claim("w1", None, 1)
    assert broker.get(job.id) == job

    broker.settle([job := jobs.succeeded(broker, job)])
    assert broker.get(job.id) == job


@pytest.mark.parametrize("id", ["", "nonsense", "01a20d86-61be-7e20-bb2a-691c2429141f", "x" * 500, "%"])
def test_get_unknown(broker, id):
    """An id that the store does not hold gives None."""
    jobs.pushed(broker)

    assert broker.get(id) is None


def test_newest_first(broker):
    """A search without conditions returns live and ended jobs alike, newest id first."""
    found = [*jobs.finished(broker, 3), *jobs.claimed(broker, 2), *jobs.pushed(broker, 3)]

    assert broker.search() == newest_first(found)


def test_limit(broker):
    """The limit cuts after the newest, wherever they are stored."""
    found = [*jobs.finished(broker, 3), *jobs.pushed(broker, 3)]

    assert broker.search(limit=4) == newest_first(found)[:4]


def test_pages(broker):
    """The last id of one page gives the next; together the pages are the whole, without gaps or repeats."""
    found = [*jobs.finished(broker, 4), *jobs.pushed(broker, 3)]

    pages = [broker.search(limit=3)]
    while page := broker.search(limit=3, before_id=pages[-1][-1].id):
        pages.append(page)

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [job for page in pages for job in page] == newest_first(found)


def test_pages_while_jobs_move(broker):
    """Jobs that end or are pushed between two pages neither hide nor repeat others."""
    old = newest_first(jobs.pushed(broker, 6))
    first = broker.search(limit=3)

    jobs.pushed(broker, id="ffffffff-ffff-7fff-bfff-ffffffffffff")
    broker.settle([jobs.succeeded(broker, job) for job in broker.claim("w1", None, 6)])
    second = broker.search(limit=3, before_id=first[-1].id)

    assert [job.id for job in first + second] == [job.id for job in old]


def test_states(broker):
    """A search can be for some states, live and ended ones together."""
    ended, running, ready = jobs.finished(broker), jobs.claimed(broker), jobs.pushed(broker)

    assert broker.search(states=[State.READY]) == ready
    assert broker.search(states={State.SUCCEEDED}) == ended
    assert broker.search(states=["succeeded", "running"]) == newest_first(ended + running)
    assert broker.search(states=[State.EXPIRED, State.PARKED]) == []
    assert broker.search(states=[]) == []


def test_queue_and_task(broker):
    """Conditions are joined by and; names are compared letter by letter."""
    (ended,) = jobs.finished(broker, queue_name="mail", task_path="app.tasks.send")
    (mail,) = jobs.pushed(broker, queue_name="mail")
    (capital,) = jobs.pushed(broker, queue_name="Mail", task_path="app.tasks.Send")

    assert broker.search(queue_name="mail") == newest_first([mail, ended])
    assert broker.search(task_path="app.tasks.send") == [ended]
    assert broker.search(task_path="app.tasks.Send") == [capital]
    assert broker.search(queue_name="mail", task_path="app.tasks.send", states=["ready"]) == []


def test_nothing_stored(broker):
    """An empty store has nothing to show."""
    assert broker.search() == []
    assert broker.search(before_id=machine.new_id()) == []
