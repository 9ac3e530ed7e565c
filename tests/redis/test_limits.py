"""Limits on Redis: what others do between the script that decides and the one that parks."""

import json

import pytest

from mainspring.brokers.admission import Change, Demand, Request
from mainspring.brokers.redis import limits
from mainspring.clock import SECOND
from tests.contract import jobs


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something once a broker has been told who may run, before it parks the others."""

    def set_up(act):
        admit = limits.admit

        def admit_and_act(*arguments):
            asked = admit(*arguments)
            monkeypatch.setattr(limits, "admit", admit)
            act()
            return asked

        monkeypatch.setattr(limits, "admit", admit_and_act)

    return set_up


def asked(broker, worker_id="w1"):
    """Let a worker claim and ask; return the jobs that may run."""
    claims = broker.claim(worker_id, None, 10)
    ids = broker.admit(
        [Request(job, [Demand(name, cost, 1) for name, cost in json.loads(job.limits)]) for job in claims]
    )
    return [job for job in claims if job.id in ids]


def test_who_holds_a_limit_ends(broker, meanwhile):
    jobs.pushed(broker, limits='[["x", 1]]')
    (running,) = asked(broker)
    (waiting,) = jobs.pushed(broker, limits='[["x", 1]]')
    meanwhile(lambda: broker.settle([jobs.succeeded(broker, running)]))

    assert asked(broker, "w2") == []
    assert jobs.ids(asked(broker, "w2")) == {waiting.id}


def test_a_pause_ends(broker, meanwhile):
    (waiting,) = jobs.pushed(broker, limits='[["x", 1]]')
    broker.change_limit("x", Change(paused_until=broker.clock.moment() + 3600 * SECOND))
    meanwhile(lambda: broker.change_limit("x", Change(paused_until=0)))

    assert asked(broker) == []
    assert jobs.ids(asked(broker)) == {waiting.id}


def test_the_one_whose_turn_it_is_ends(broker, meanwhile):
    first, second = jobs.pushed(broker, 2, order_key="key:a", blocks="retrying")
    (running,) = broker.claim("w1", None, 1)
    assert broker.admit([Request(running, [])]) == {first.id}
    (other,) = broker.claim("w2", None, 1)
    meanwhile(lambda: broker.settle([jobs.succeeded(broker, running)]))

    assert broker.admit([Request(other, [])]) == set()
    assert broker.get(second.id).state == "ready"


def test_what_somebody_has_left_behind_is_taken_once(broker, redis):
    (job,) = jobs.pushed(broker, limits='[["x", 1]]')
    redis.hset("{mainspring:default}:holds", job.id, '[["x", 1]]')
    redis.hset("{mainspring:default}:held", "x", 1)
    (claim,) = broker.claim("w1", None, 1)

    assert broker.admit([Request(claim, [Demand("x", 1, 2)])]) == {job.id}
    assert broker.level("x").held == 1
    broker.settle([jobs.succeeded(broker, claim)])
    assert broker.level("x").held == 0
