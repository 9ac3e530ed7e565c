"""Order: jobs with the same key run one after the other, in the order in which they came."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring.brokers.admission import Change, Demand, Request
from mainspring.clock import SECOND
from mainspring.job import DEFERRED, RETRYING
from tests.contract import jobs


def ordered(broker, number=1, key="a", blocks=RETRYING, **facts):
    """Push jobs with an order key, oldest first."""
    return jobs.pushed(broker, number, order_key=f"key:{key}", blocks=blocks, **facts)


def admitted(broker, number=100, worker_id="w1", **facts):
    """Claim jobs and ask whose turn it is; return those that may run."""
    claims = broker.claim(worker_id, None, number, **facts)
    ids = broker.admit([Request(job, []) for job in claims])
    return [job for job in claims if job.id in ids]


def ran(broker, **facts):
    """Run jobs that may run, until there is none; return the ids in the order in which they ran."""
    order = []
    while running := admitted(broker, **facts):
        order += [job.id for job in running]
        broker.settle([jobs.succeeded(broker, job) for job in running])
    return order


def test_one_runs_after_the_other_in_order(broker):
    pushed = ordered(broker, 5)
    assert [job.id for job in admitted(broker)] == [pushed[0].id]
    assert jobs.states(broker, pushed) == ["running", *["parked"] * 4]
    assert {broker.get(job.id).parked_under for job in pushed[1:]} == {"key:a"}
    assert admitted(broker, worker_id="w2") == []
    broker.settle([jobs.succeeded(broker, broker.get(pushed[0].id))])
    assert jobs.states(broker, pushed[1:]) == ["ready", *["parked"] * 3]
    assert ran(broker) == [job.id for job in pushed[1:]]


def test_priority_does_not_change_the_order(broker):
    first = ordered(broker, priority=-100)[0]
    second = ordered(broker, priority=100)[0]
    third = ordered(broker)[0]
    assert ran(broker) == [first.id, second.id, third.id]


def test_other_keys_and_jobs_without_one_do_not_wait(broker):
    pushed = [ordered(broker, 2, "a"), ordered(broker, 2, "A"), jobs.pushed(broker, 2)]
    running = admitted(broker)
    assert jobs.ids(running) == jobs.ids([pushed[0][0], pushed[1][0], *pushed[2]])


def test_a_claim_of_later_ones_does_not_overtake(broker):
    """Another worker has claimed the first and not yet asked."""
    first, second = ordered(broker, 2)
    (early,) = broker.claim("w1", None, 1)
    assert early.id == first.id
    assert admitted(broker, worker_id="w2") == []
    assert broker.admit([Request(early, [])]) == {first.id}
    broker.settle([jobs.succeeded(broker, early)])
    assert ran(broker) == [second.id]


def test_who_came_later_waits_behind_who_was_seen_before(broker):
    """An enqueue that commits late does not push in, however early it began."""
    late = jobs.new(broker, order_key="key:a", blocks=RETRYING)
    first, second = ordered(broker, 2)
    (running,) = admitted(broker)
    broker.push([late])
    assert admitted(broker) == []
    broker.settle([jobs.succeeded(broker, running)])
    assert [first.id, *ran(broker)] == [first.id, second.id, late.id]


@pytest.mark.parametrize("blocks", [RETRYING, ""])
def test_whether_one_that_is_tried_again_keeps_others_waiting(broker, blocks):
    first, second, third = ordered(broker, 3, blocks=blocks)
    (running,) = admitted(broker)
    broker.settle([jobs.retried(broker, running, delay=10)])

    meanwhile = ran(broker)
    broker.clock.travel(20)
    broker.promote(100)
    rest = ran(broker)
    if blocks:
        assert (meanwhile, rest) == ([], [first.id, second.id, third.id])
    else:
        assert (meanwhile, rest) == ([second.id, third.id], [first.id])


@pytest.mark.parametrize("blocks", [RETRYING, f"{RETRYING} {DEFERRED}"])
def test_whether_one_that_is_deferred_keeps_others_waiting(broker, blocks):
    (later,) = ordered(broker, blocks=blocks, run_after=broker.clock.moment() + 10 * SECOND)
    now, after = ordered(broker, 2, blocks=blocks)
    meanwhile = ran(broker)
    broker.clock.travel(20)
    broker.promote(100)
    rest = ran(broker)
    if DEFERRED in blocks:
        assert (meanwhile, rest) == ([], [later.id, now.id, after.id])
    else:
        assert (meanwhile, rest) == ([now.id, after.id], [later.id])


def test_one_that_was_given_back_keeps_its_turn(broker):
    first, second = ordered(broker, 2)
    (running,) = admitted(broker)
    broker.rescue([running.worker_id], max_crashes=3, started=[])
    assert ran(broker) == [first.id, second.id]


def test_one_that_crashed_keeps_its_turn_until_it_is_given_up(broker):
    first, second = ordered(broker, 2)
    admitted(broker, worker_id="dead")
    broker.rescue(["dead"], max_crashes=2)
    assert admitted(broker) == []
    assert jobs.ids(admitted(broker, worker_id="dead", alone=True)) == {first.id}
    broker.rescue(["dead"], max_crashes=2)
    assert broker.get(first.id).state == "quarantined"
    assert ran(broker) == [second.id]


@pytest.mark.parametrize("outcome", [jobs.failed, jobs.succeeded])
def test_whatever_ends_one_lets_the_next_come(broker, outcome):
    _, second = ordered(broker, 2)
    (running,) = admitted(broker)
    broker.settle([outcome(broker, running)])
    assert ran(broker) == [second.id]


@pytest.mark.parametrize("number", range(3))
def test_a_cancelled_one_is_passed_over(broker, number):
    pushed = ordered(broker, 4)
    (running,) = admitted(broker)
    broker.settle([jobs.retried(broker, running, delay=0)])  # so that nobody runs
    broker.cancel([pushed[number].id])
    assert ran(broker) == [job.id for job in pushed if job.id != pushed[number].id]


def test_one_that_has_been_let_in_and_is_cancelled_lets_the_next_come(broker):
    _, second, third = ordered(broker, 3)
    (running,) = admitted(broker)
    broker.settle([jobs.succeeded(broker, running)])
    assert broker.get(second.id).state == "ready"
    broker.cancel([second.id])
    assert ran(broker) == [third.id]


def test_a_limit_that_is_full_does_not_lose_the_turn(broker):
    (blocker,) = jobs.pushed(broker, limits='[["x", 1]]')
    first, second = ordered(broker, 2, limits='[["x", 1]]')
    claims = broker.claim("w1", None, 10)
    wanted = [Request(job, [Demand("x", 1, 1)]) for job in claims]
    assert broker.admit(wanted) == {blocker.id}
    assert [broker.get(job.id).parked_under for job in (first, second)] == ["x", "key:a"]
    broker.settle([jobs.succeeded(broker, broker.get(blocker.id))])
    assert jobs.states(broker, [first, second]) == ["ready", "parked"]


def test_one_that_cannot_use_the_room_it_was_let_in_for_lets_others_in(broker):
    """It waits under another limit then, and nobody would call those that wait under the first."""

    def ask():
        claims = broker.claim("w1", None, 10)
        wanted = [Request(job, [Demand(name, 1, 1) for name in ("x", "y") if name in job.limits]) for job in claims]
        return broker.admit(wanted)

    (holder,) = jobs.pushed(broker, limits='[["x", 1]]')
    ask()
    (both,) = jobs.pushed(broker, limits='[["x", 1], ["y", 1]]')
    (single,) = jobs.pushed(broker, limits='[["x", 1]]')
    ask()
    assert jobs.states(broker, [both, single]) == ["parked", "parked"]
    broker.change_limit("y", Change(paused_until=broker.clock.moment() + 60 * SECOND))
    broker.settle([jobs.succeeded(broker, broker.get(holder.id))])
    assert ask() == set()
    assert broker.get(both.id).parked_under == "y"
    assert ask() == {single.id}


def test_one_that_was_let_in_and_is_cancelled_lets_others_in(broker):
    def ask():
        return broker.admit([Request(job, [Demand("x", 1, 1)]) for job in broker.claim("w1", None, 10)])

    pushed = jobs.pushed(broker, 3, limits='[["x", 1]]')
    ask()
    broker.settle([jobs.succeeded(broker, broker.get(pushed[0].id))])
    broker.cancel([pushed[1].id])
    assert ask() == {pushed[2].id}


def test_very_many_of_one_key(broker):
    """More than get their turn in one statement."""
    pushed = ordered(broker, 30)
    assert jobs.ids(admitted(broker, 10)) == {pushed[0].id}
    assert jobs.ids(admitted(broker, 10)) == set()
    assert ran(broker) == []
    broker.settle([jobs.succeeded(broker, broker.get(pushed[0].id))])
    assert ran(broker) == [job.id for job in pushed[1:]]


def test_workers_at_the_same_time_never_run_two_nor_change_the_order(stored_broker):
    """Each worker claims, asks, and settles on a connection of its own."""
    pushed = {key: [job.id for job in ordered(stored_broker, 12, key)] for key in "abc"}
    keys = {id: key for key, ids in pushed.items() for id in ids}
    running, order, changing = set(), [], threading.Lock()

    def work(worker_id):
        try:
            while len(order) < len(keys):
                for job in admitted(stored_broker, 3, worker_id):
                    with changing:
                        assert keys[job.id] not in running
                        running.add(keys[job.id])
                        order.append(job.id)
                    with changing:
                        running.remove(keys[job.id])
                    stored_broker.settle([jobs.succeeded(stored_broker, job)])
        finally:
            stored_broker.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, f"w{number}") for number in range(4)]:
            done.result(60)
    assert {key: [id for id in order if keys[id] == key] for key in "abc"} == pushed
