"""Limits: who of the claimed jobs may run, who waits out of sight, and who goes on when."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring import job as machine
from mainspring.brokers.admission import Change, Demand, Request
from mainspring.brokers.rates import parse_rate
from mainspring.clock import SECOND
from tests.contract import jobs


def limited(broker, number=1, name="a", cost=1, **facts):
    """Push jobs that need something of a limit."""
    return jobs.pushed(broker, number, limits=json.dumps([[name, cost]]), **facts)


def requested(claims, **demand):
    """Return requests of claimed jobs, with what they take of which limit as it is stored."""
    return [Request(job, [Demand(name, cost, **demand) for name, cost in json.loads(job.limits)]) for job in claims]


def admitted(broker, number=100, worker_id="w1", **demand):
    """Claim jobs and ask for what they need; return those that may run."""
    claims = broker.claim(worker_id, None, number)
    ids = broker.admit(requested(claims, **demand))
    return [job for job in claims if job.id in ids]


def ended(broker, claims):
    assert broker.settle([jobs.succeeded(broker, job) for job in claims]) == jobs.ids(claims)


def test_only_so_many_run_at_once(broker):
    pushed = limited(broker, 5)
    running = admitted(broker, concurrency=2)

    assert jobs.ids(running) == jobs.ids(pushed[:2])
    assert jobs.states(broker, pushed) == ["running"] * 2 + ["parked"] * 3
    assert [broker.get(job.id).parked_under for job in pushed[2:]] == ["a"] * 3
    assert broker.claim("w2", None, 10) == []
    assert (broker.level("a").held, broker.holding("a")) == (2, sorted(jobs.ids(running)))


def test_an_end_makes_room_for_the_next_in_line(broker):
    pushed = limited(broker, 4)
    first, second = admitted(broker, concurrency=2)
    ended(broker, [first])

    assert jobs.states(broker, pushed[2:]) == ["ready", "parked"]
    assert broker.get(pushed[2].id).rank == pushed[2].rank
    (third,) = admitted(broker, concurrency=2)
    assert third.id == pushed[2].id
    ended(broker, [second, third])
    assert jobs.ids(admitted(broker, concurrency=2)) == {pushed[3].id}


@pytest.mark.parametrize("outcome", [jobs.failed, lambda broker, job: jobs.retried(broker, job, delay=60)])
def test_whatever_ends_a_run_gives_back(broker, outcome):
    pushed = limited(broker, 2)
    (running,) = admitted(broker, concurrency=1)
    broker.settle([outcome(broker, running)])

    assert broker.level("a").held == 0
    assert broker.get(pushed[1].id).state == "ready"


def test_a_dead_worker_gives_back_what_it_held(broker):
    pushed = limited(broker, 2)
    admitted(broker, worker_id="dead", concurrency=1)
    broker.rescue(["dead"], max_crashes=1)

    assert broker.level("a").held == 0
    assert jobs.states(broker, pushed) == ["quarantined", "ready"]


def test_a_job_that_waits_for_room_costs_no_attempt(broker):
    limited(broker, 2)
    admitted(broker, concurrency=1)
    (parked,) = broker.search(states=["parked"])

    assert (parked.attempts, parked.crashes, parked.interruptions) == (0, 0, 0)
    assert parked.last_attempted_at is None


@pytest.mark.parametrize("demand", [{"concurrency": 2}, {"rate": parse_rate("2/10s")}])
def test_what_costs_more_than_there_ever_is_runs_when_nothing_else_does(broker, demand):
    """It neither waits for ever nor takes others down with it."""
    (small,), (large,) = limited(broker), limited(broker, cost=5)
    (after,) = limited(broker)
    assert jobs.ids(admitted(broker, **demand)) >= {small.id}
    claimed = [broker.get(job.id) for job in (small, after) if broker.get(job.id).state == "running"]
    ended(broker, claimed)
    for _ in range(3):
        broker.clock.travel(30)
        broker.promote(10)
        ended(broker, admitted(broker, **demand))
    assert jobs.states(broker, [small, large, after]) == ["succeeded"] * 3


def test_a_pause_is_never_shortened_by_another(broker):
    limited(broker)
    now = broker.clock.moment()
    for seconds in (30, 10):
        broker.change_limit("a", Change(paused_until=now + seconds * SECOND))
    assert broker.level("a").paused_until == now + 30 * SECOND
    assert admitted(broker) == []
    broker.change_limit("a", Change(paused_until=0))
    assert len(admitted(broker)) == 1


def test_limits_are_listed_by_their_names(broker):
    for name in ("b", "a", "c:1"):
        limited(broker, name=name)
    admitted(broker, concurrency=3)
    jobs.pushed(broker, 2, order_key="key:x")
    broker.admit([Request(job, []) for job in broker.claim("w1", None, 5)])
    assert {name: level.held for name, level in broker.limits().items()} == {"a": 1, "b": 1, "c:1": 1}
    assert list(broker.limits(after="a", number=1)) == ["b"]


def test_how_many_are_parked(broker):
    limited(broker, 5)
    admitted(broker, concurrency=2)
    assert (broker.parked("a"), broker.parked("b")) == (3, 0)


def test_limits_that_nobody_uses_are_forgotten(broker):
    """But for those that are held, waited for, paused, changed, or have seen something that still counts."""
    for name in ("idle", "held", "seen", "awaited"):
        limited(broker, 2 if name == "awaited" else 1, name=name)
    claims = broker.claim("w1", None, 10)
    rates = {"seen": {"rate": parse_rate("1/h")}, "awaited": {"concurrency": 1}, "idle": {"rate": parse_rate("1/s")}}
    wanted = [
        Request(job, [Demand(name, 1, **rates.get(name, {"concurrency": 5}))])
        for job in claims
        for name, _ in json.loads(job.limits)
    ]
    admitted_ids = broker.admit(wanted)
    over = [job for job in claims if job.id in admitted_ids and ("idle" in job.limits or "seen" in job.limits)]
    ended(broker, over)
    broker.change_limit("given", Change(is_given=True, concurrency=1))
    broker.change_limit("paused", Change(paused_until=broker.clock.moment() + 3600 * SECOND))
    (first, second) = jobs.pushed(broker, 2, order_key="key:x", blocks="retrying")
    broker.admit([Request(job, []) for job in broker.claim("w2", None, 5)])
    broker.clock.travel(60)

    assert broker.forget_limits() == 1
    assert set(broker.limits()) == {"held", "seen", "awaited", "given", "paused"}
    ended(broker, [broker.get(first.id)])
    assert broker.get(second.id).state == "ready"


def test_what_costs_more_takes_more_room(broker):
    (large,) = limited(broker, cost=3)
    (small,) = limited(broker)

    assert jobs.ids(admitted(broker, concurrency=3)) == {large.id}
    assert broker.get(small.id).state == "parked"


def test_each_name_has_its_own_room(broker):
    for name in ("a", "A", "a ", "b"):
        limited(broker, name=name)

    assert len(admitted(broker, concurrency=1)) == 4


def test_at_a_rate_each_waits_for_a_time_of_its_own(broker):
    pushed = limited(broker, 4)
    rate = parse_rate("1/s")
    (first,) = admitted(broker, rate=rate)
    began = broker.clock.moment()

    assert jobs.states(broker, pushed) == ["running", "parked", "parked", "parked"]
    assert [broker.get(job.id).due_at for job in pushed[1:]] == [began + number * SECOND for number in (1, 2, 3)]
    ended(broker, [first])
    assert broker.get(pushed[1].id).state == "parked", "an end makes no room in a rate"
    assert broker.promote(10) == began + SECOND == broker.beat([]).next_due
    broker.clock.travel(1)
    broker.promote(10)
    assert jobs.ids(admitted(broker, rate=rate)) == {pushed[1].id}


def test_at_a_rate_nobody_overtakes_those_who_wait(broker):
    rate = parse_rate("1/s")
    first, second, third = limited(broker, 3)
    assert jobs.ids(admitted(broker, rate=rate)) == {first.id}
    broker.clock.travel(1)
    (late,) = limited(broker)

    assert admitted(broker, rate=rate) == [], "the time of the second has come, and it is not yet in line"
    broker.promote(10)
    assert jobs.ids(admitted(broker, rate=rate)) == {second.id}
    dues = [broker.get(job.id).due_at for job in (third, late)]
    assert dues == [dues[0], dues[0] + SECOND]


def test_when_those_who_wait_have_gone_nobody_waits_for_them(broker):
    rate = parse_rate("1/s")
    pushed = limited(broker, 50)
    admitted(broker, rate=rate)
    broker.cancel([job.id for job in pushed[1:]])
    broker.clock.travel(1)
    (late,) = limited(broker)

    assert jobs.ids(admitted(broker, rate=rate)) == {late.id}


def test_a_limit_can_be_changed_while_jobs_wait(broker):
    pushed = limited(broker, 4)
    admitted(broker, concurrency=1)
    broker.change_limit("a", Change(is_given=True, concurrency=3))

    assert jobs.states(broker, pushed) == ["running", "ready", "ready", "parked"]
    assert len(admitted(broker, concurrency=1)) == 2, "what was given goes before what is declared"
    broker.change_limit("a", Change(is_given=False))
    assert not broker.level("a").is_given


def test_a_limit_can_be_paused(broker):
    (job,) = limited(broker)
    until = broker.clock.moment() + 30 * SECOND
    broker.change_limit("a", Change(paused_until=until))

    assert admitted(broker, concurrency=5) == []
    assert (broker.get(job.id).state, broker.get(job.id).due_at) == ("parked", until)
    broker.clock.travel(30)
    broker.promote(10)
    assert jobs.ids(admitted(broker, concurrency=5)) == {job.id}


def test_a_parked_job_can_be_cancelled(broker):
    pushed = limited(broker, 2)
    (running,) = admitted(broker, concurrency=1)
    broker.cancel([pushed[1].id])
    ended(broker, [running])

    assert broker.claim("w1", None, 10) == []


def test_who_has_lost_a_job_takes_nothing_for_it(broker):
    limited(broker)
    claims = broker.claim("dead", None, 1)
    broker.rescue(["dead"], max_crashes=3, started=[])

    assert broker.admit(requested(claims, concurrency=1)) == set()
    assert broker.level("a") is None or broker.level("a").held == 0


def test_a_name_that_nobody_knows(broker):
    assert broker.level("a") is None
    assert broker.holding("a") == []


def test_however_many_race_the_limit_holds(broker):
    limited(broker, 40)
    running, at_once, ended_ids, counting = set(), [], [], threading.Lock()

    def work(worker_id):
        try:
            while len(ended_ids) < 40:
                claims = broker.claim(worker_id, None, 3)
                may_run = broker.admit(requested(claims, concurrency=3))
                mine = [job for job in claims if job.id in may_run]
                with counting:
                    running.update(jobs.ids(mine))
                    at_once.append(len(running))
                with counting:
                    running.difference_update(jobs.ids(mine))
                ended_ids.extend(broker.settle([jobs.succeeded(broker, job) for job in mine]))
        finally:
            broker.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["w1", "w2", "w3", "w4"]))
    assert max(at_once) <= 3
    assert len(set(ended_ids)) == len(ended_ids) == 40
    assert broker.level("a").held == 0


def test_an_end_during_a_pause_is_not_lost(broker):
    """Who waited for its room waits for the end of the pause from then on."""
    first, second = limited(broker, 2)
    (running,) = admitted(broker, concurrency=1)
    assert running.id == first.id
    broker.change_limit("a", Change(paused_until=broker.clock.moment() + 60 * SECOND))
    ended(broker, [running])
    assert admitted(broker, concurrency=1) == []
    broker.clock.travel(61)
    broker.promote(10)
    assert jobs.ids(admitted(broker, concurrency=1)) == {second.id}


def test_the_end_of_a_pause_reaches_everybody(broker):
    """Also those for whom there is no room yet: the next end calls them, and not the old end of the pause."""
    broker.change_limit("a", Change(paused_until=broker.clock.moment() + 3600 * SECOND))
    pushed = limited(broker, 600)
    assert admitted(broker, 600, concurrency=2) == []
    broker.change_limit("a", Change(paused_until=0))
    assert len(admitted(broker, 600, concurrency=2)) == 2
    for _ in range(3):
        ended(broker, [broker.get(id) for id in broker.holding("a")])
        assert len(admitted(broker, 600, concurrency=2)) == 2
    assert jobs.states(broker, pushed[:8]) == ["succeeded"] * 6 + ["running"] * 2


def test_what_somebody_has_left_behind_is_taken_once(database_broker):
    """A worker of another version may have put a job back without giving back what it held."""
    broker = database_broker
    (job,) = limited(broker)
    (running,) = admitted(broker, concurrency=1)
    broker.settle([machine.release(running)._replace(limits=None)])
    assert broker.holding("a") == [job.id]
    assert jobs.ids(admitted(broker, concurrency=2)) == {job.id}
    assert (broker.level("a").held, broker.holding("a")) == (1, [job.id])
    ended(broker, [broker.get(job.id)])
    assert broker.level("a").held == 0


def test_a_larger_limit_reaches_those_who_wait_with_the_next_end(broker):
    """The code of a later release declares more, and a job with that code asks."""
    limited(broker, 10)
    (first,) = admitted(broker, concurrency=1)
    limited(broker)
    (second,) = admitted(broker, concurrency=4)
    ended(broker, [first])

    assert second.id in broker.holding("a")
    assert len(admitted(broker, concurrency=4)) == 3
