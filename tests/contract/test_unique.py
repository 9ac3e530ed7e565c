"""Unique keys: no two live jobs hold one, whoever enqueues, ends or comes back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring import job as machine
from mainspring.brokers.uniqueness import OnConflict
from mainspring.clock import SECOND
from mainspring.exceptions import BrokerRefused, NotUnique
from tests.contract import jobs

START, FINISH = "start:ab12", "finish:ab12"


def keyed(broker, key=FINISH, **facts):
    """Return a new job that wants a unique key."""
    return jobs.new(broker, unique_key=key, **facts)


def pushed(broker, key=FINISH, on_conflict=OnConflict.EXISTING, **facts):
    """Enqueue one job with a unique key; return it and the one that stands for it."""
    job = keyed(broker, key, **facts)
    (standing,) = broker.push_unique([job], on_conflict)
    return job, standing


def claimed(broker, key=FINISH, worker_id="w1", **facts):
    """Enqueue one job with a unique key and claim it."""
    job, _ = pushed(broker, key, **facts)
    (claim,) = broker.claim(worker_id, None, 1)
    assert claim.id == job.id
    return claim


def live(broker):
    return jobs.ids(broker.search(states=machine.LIVE))


def test_the_first_with_a_key_is_stored(broker):
    job, standing = pushed(broker)

    assert standing == job == broker.get(job.id)
    assert job.holds_key == "ab12"


def test_others_with_its_key_are_left_out(broker):
    first, _ = pushed(broker)
    second, standing = pushed(broker)

    assert standing == first
    assert broker.get(second.id) is None


def test_other_keys_are_another_matter(broker):
    first, _ = pushed(broker)
    _, other = pushed(broker, "finish:cd34")
    jobs.pushed(broker)

    assert other.id != first.id
    assert len(live(broker)) == 3


def test_a_key_is_the_same_until_start_and_until_finish(broker):
    first, _ = pushed(broker, FINISH)
    _, standing = pushed(broker, START)

    assert standing == first


def test_who_asks_for_an_error_gets_it_with_the_id(broker):
    first, _ = pushed(broker)

    with pytest.raises(NotUnique, match=f"job {first.id} has the same unique key and is ready") as caught:
        pushed(broker, on_conflict=OnConflict.RAISE)
    assert caught.value.job_id == first.id
    assert live(broker) == {first.id}


def test_an_error_leaves_out_the_others_of_the_call_too(broker):
    first, _ = pushed(broker)

    with pytest.raises(NotUnique):
        broker.push_unique([keyed(broker, "finish:cd34"), keyed(broker)], OnConflict.RAISE)
    assert live(broker) == {first.id}


def test_one_that_waits_takes_what_replaces_it(broker):
    first, _ = pushed(broker)
    at = broker.clock.moment() + 60 * SECOND
    second, standing = pushed(
        broker, on_conflict=OnConflict.REPLACE, arguments='{"args": [2], "kwargs": {}}', priority=5, run_after=at
    )

    assert standing == second._replace(id=first.id) == broker.get(first.id)
    assert broker.claim("w1", None, 1) == []
    broker.clock.travel(61)
    broker.promote(10)
    assert jobs.ids(broker.claim("w1", None, 1)) == {first.id}


def test_a_replaced_job_keeps_what_has_happened_to_it(broker):
    claim = claimed(broker)
    broker.settle([jobs.retried(broker, claim, delay=60)])
    _, standing = pushed(broker, on_conflict=OnConflict.REPLACE)

    assert (standing.id, standing.attempts, standing.state) == (claim.id, 1, "ready")
    assert standing.errors == broker.get(claim.id).errors != "[]"


def test_until_finish_one_that_runs_keeps_others_out(broker):
    claim = claimed(broker)
    _, standing = pushed(broker)

    assert standing == claim
    with pytest.raises(NotUnique):
        pushed(broker, on_conflict=OnConflict.RAISE)
    assert live(broker) == {claim.id}


@pytest.mark.parametrize("end", [jobs.succeeded, jobs.failed])
def test_until_finish_the_end_gives_the_key_back(broker, end):
    broker.settle([end(broker, claimed(broker))])
    job, standing = pushed(broker)

    assert standing == job


def test_a_retry_keeps_the_key_until_finish(broker):
    claim = claimed(broker)
    broker.settle([jobs.retried(broker, claim, delay=60)])
    _, standing = pushed(broker)

    assert standing.id == claim.id


def test_until_start_the_claim_gives_the_key_back(broker):
    claim = claimed(broker, START)
    job, standing = pushed(broker, START)

    assert claim.holds_key is None
    assert broker.get(claim.id).holds_key is None
    assert standing == job
    assert jobs.ids(broker.claim("w2", None, 1)) == {job.id}


def test_until_start_one_that_comes_back_takes_its_key_again(broker):
    claim = claimed(broker, START)
    assert broker.settle([machine.release(claim)]) == {claim.id}
    _, standing = pushed(broker, START)

    assert standing.id == claim.id


@pytest.mark.parametrize("come_back", [machine.release, machine.interrupt])
def test_one_that_comes_back_to_a_twin_is_superseded(broker, come_back):
    claim = claimed(broker, START)
    twin, _ = pushed(broker, START)

    after = come_back(claim)
    assert broker.settle([after]) == {claim.id}
    (ended,) = broker.become([after])
    assert ended == broker.get(claim.id)
    assert ended.state == "discarded"
    assert "Superseded" in ended.errors
    assert live(broker) == {twin.id}
    assert broker.settle([after]) == {claim.id}, "the reply to the first was lost"


def test_a_retry_that_meets_a_twin_keeps_its_error(broker):
    claim = claimed(broker, START)
    pushed(broker, START)
    broker.settle([jobs.retried(broker, claim)])
    ended = broker.get(claim.id)

    assert (ended.state, ended.attempts) == ("discarded", 1)
    assert "boom" in ended.errors


def test_a_twin_that_has_gone_is_no_hindrance(broker):
    claim = claimed(broker, START)
    pushed(broker, START)
    broker.settle([jobs.succeeded(broker, *broker.claim("w2", None, 1))])
    broker.settle([machine.release(claim)])

    assert broker.get(claim.id).state == "ready"


def test_a_twin_that_the_same_turn_claims_has_superseded_it(broker):
    claim = claimed(broker, START)
    twin, _ = pushed(broker, START)
    turn = broker.settle_and_claim([jobs.retried(broker, claim, delay=60)], "w1", None, 5)

    assert (turn.accepted, jobs.ids(turn.claimed)) == ({claim.id}, {twin.id})
    assert broker.get(claim.id).state == "discarded"


def test_others_of_a_batch_come_back_though_one_meets_a_twin(broker):
    first = claimed(broker, START)
    (second,) = jobs.claimed(broker)
    pushed(broker, START)

    assert broker.settle([machine.release(first), machine.release(second)]) == {first.id, second.id}
    assert jobs.states(broker, [first, second]) == ["discarded", "ready"]


def test_two_that_come_back_to_one_key(broker):
    first = claimed(broker, START)
    second = claimed(broker, START, worker_id="w2")
    broker.settle([machine.release(first), machine.release(second)])

    assert jobs.states(broker, [first, second]) == ["ready", "discarded"]


def test_one_that_comes_back_while_another_waits_for_the_key(broker):
    """That one runs when the holder has ended, and does the work of this one too."""
    back = claimed(broker, START)
    holder = claimed(broker, FINISH, worker_id="w2")
    waiting, _ = pushed(broker, FINISH, on_conflict=OnConflict.AFTER)
    broker.settle([machine.release(back), jobs.succeeded(broker, holder)])

    assert jobs.states(broker, [back, waiting]) == ["discarded", "ready"]


def test_a_rescue_that_meets_a_twin_ends_the_job(broker):
    claim = claimed(broker, START, worker_id="dead")
    twin, _ = pushed(broker, START)

    (ended,) = broker.rescue(["dead"], max_crashes=3)
    assert (ended.id, ended.state) == (claim.id, "discarded")
    assert live(broker) == {twin.id}


def test_what_a_dead_worker_held_has_its_key_after_the_rescue(broker):
    claim = claimed(broker, START, worker_id="dead")
    broker.rescue(["dead"], max_crashes=3)
    _, standing = pushed(broker, START)

    assert standing.id == claim.id


def test_one_more_runs_after_the_one_that_runs(broker):
    claim = claimed(broker)
    job, standing = pushed(broker, on_conflict=OnConflict.AFTER)

    assert (standing.id, standing.state) == (job.id, "waiting")
    assert broker.claim("w2", None, 10) == []
    broker.settle([jobs.succeeded(broker, claim)])
    (other,) = broker.claim("w2", None, 10)
    assert (other.id, other.holds_key) == (job.id, "ab12")


@pytest.mark.parametrize("on_conflict", [OnConflict.AFTER, OnConflict.REPLACE])
def test_one_that_waits_behind_is_enough(broker, on_conflict):
    claimed(broker)
    first, _ = pushed(broker, on_conflict=on_conflict)
    second, standing = pushed(broker, on_conflict=on_conflict, arguments='{"args": [2], "kwargs": {}}')

    assert standing.id == first.id
    expected = second if on_conflict == OnConflict.REPLACE else first
    assert broker.get(first.id).arguments == standing.arguments == expected.arguments
    assert broker.get(second.id) is None


def test_the_last_arguments_run_last(broker):
    """Also when the one that ran waits for its retry: the one behind it takes them."""
    claim = claimed(broker)
    behind, _ = pushed(broker, on_conflict=OnConflict.REPLACE)
    broker.settle([jobs.retried(broker, claim)])
    _, standing = pushed(broker, on_conflict=OnConflict.REPLACE, arguments='{"args": [3], "kwargs": {}}')

    assert standing == broker.get(behind.id)
    assert standing.arguments == '{"args": [3], "kwargs": {}}'
    assert broker.get(claim.id).arguments == claim.arguments


def test_after_one_that_only_waits_nothing_more_is_needed(broker):
    first, _ = pushed(broker)
    _, standing = pushed(broker, on_conflict=OnConflict.AFTER)

    assert standing == first


def test_one_behind_waits_for_its_own_time_too(broker):
    claim = claimed(broker)
    at = broker.clock.moment() + 60 * SECOND
    job, _ = pushed(broker, on_conflict=OnConflict.AFTER, run_after=at)
    broker.settle([jobs.succeeded(broker, claim)])

    assert broker.get(job.id).state == "deferred"
    assert broker.get(job.id).due_at == at


def test_one_behind_waits_through_a_retry(broker):
    claim = claimed(broker)
    job, _ = pushed(broker, on_conflict=OnConflict.AFTER)
    broker.settle([jobs.retried(broker, claim)])

    (again,) = broker.claim("w1", None, 10)
    assert again.id == claim.id
    broker.settle([jobs.failed(broker, again)])
    assert jobs.ids(broker.claim("w1", None, 10)) == {job.id}


def test_one_behind_goes_on_after_a_cancel_and_a_quarantine(broker):
    claim = claimed(broker, worker_id="dead")
    job, _ = pushed(broker, on_conflict=OnConflict.AFTER)
    (ended,) = broker.rescue(["dead"], max_crashes=1)
    assert (ended.id, ended.state) == (claim.id, "quarantined")
    (second,) = broker.claim("w1", None, 10)
    assert second.id == job.id

    third, _ = pushed(broker, on_conflict=OnConflict.AFTER)
    broker.settle([jobs.retried(broker, second, delay=60)])
    broker.cancel([second.id])
    assert jobs.ids(broker.claim("w1", None, 10)) == {third.id}


def test_one_behind_can_be_cancelled(broker):
    claim = claimed(broker)
    job, _ = pushed(broker, on_conflict=OnConflict.AFTER)

    assert jobs.ids(broker.cancel([job.id])) == {job.id}
    broker.settle([jobs.succeeded(broker, claim)])
    assert broker.claim("w1", None, 10) == []


def test_one_behind_is_looked_at_again(broker):
    """Should whoever ended the job not have seen it."""
    claim = claimed(broker)
    job, _ = pushed(broker, on_conflict=OnConflict.AFTER)
    broker.clock.travel(5)

    next_look = broker.promote(10)
    assert broker.get(job.id).state == "waiting"
    assert next_look == broker.get(job.id).due_at == broker.clock.moment() + machine.LOOK_AGAIN
    assert broker.beat([]).next_due == next_look
    broker.settle([jobs.succeeded(broker, claim)])
    assert broker.get(job.id).state == "ready"


def test_many_at_once(broker):
    """Equal keys of one call meet each other first; each call gets a job that stands for it."""
    first, _ = pushed(broker)
    many = [keyed(broker, f"finish:{number % 3}") for number in range(9)]
    standing = broker.push_unique([*many, keyed(broker)], OnConflict.EXISTING)

    assert [job.id for job in standing] == [many[number % 3].id for number in range(9)] + [first.id]
    assert live(broker) == jobs.ids(many[:3]) | {first.id}


def test_many_at_once_of_which_the_last_replaces(broker):
    many = [keyed(broker, arguments=f'{{"args": [{number}], "kwargs": {{}}}}') for number in range(3)]
    standing = broker.push_unique(many, OnConflict.REPLACE)

    assert jobs.ids(standing) == live(broker) == {many[0].id}
    assert broker.get(many[0].id).arguments == many[2].arguments


def test_an_id_that_is_taken_is_refused(broker):
    (other,) = jobs.pushed(broker)

    with pytest.raises(BrokerRefused):
        broker.push_unique([keyed(broker, id=other.id)], OnConflict.EXISTING)
    assert broker.get(other.id) == other


def test_what_is_sent_again_stands_for_itself(broker):
    """Live, running or ended, and whoever has its key by now."""
    job = keyed(broker)
    for _ in range(2):
        assert broker.push_unique([job], OnConflict.AFTER, once=True) == [job]
    (claim,) = broker.claim("w1", None, 5)
    assert broker.push_unique([job], OnConflict.AFTER, once=True) == [broker.get(job.id)] == [claim]
    broker.settle([jobs.succeeded(broker, claim)])
    other, _ = pushed(broker)
    assert broker.push_unique([job], OnConflict.REPLACE, once=True) == [broker.get(job.id)]
    assert live(broker) == {other.id}


def test_what_is_left_out_is_kept_as_ended(broker):
    """But never beside itself."""
    first, _ = pushed(broker)
    out = machine.leave_out(keyed(broker), first, broker.clock.tick())
    for _ in range(2):
        broker.keep([out])
    broker.keep([machine.leave_out(first, first, broker.clock.tick())])

    assert broker.get(out.id) == out
    assert broker.get(first.id) == first


def test_nothing_at_once(broker):
    assert broker.push_unique([], OnConflict.EXISTING) == []


@pytest.mark.parametrize("on_conflict", [OnConflict.EXISTING, OnConflict.REPLACE, OnConflict.AFTER])
def test_of_many_who_race_for_a_key_one_is_stored(broker, on_conflict):
    def race(number):
        try:
            return pushed(broker, on_conflict=on_conflict)[1].id
        finally:
            broker.close()

    with ThreadPoolExecutor(4) as pool:
        standing = set(pool.map(race, range(12)))
    assert standing == live(broker)
    assert len(standing) == 1


def test_who_enqueues_while_others_run_and_end_never_makes_two(broker):
    """At every moment at most one live job holds the key, and one waits behind it."""
    ended = []

    running, at_once, counting = [], [], threading.Lock()

    def work(worker_id):
        try:
            for _ in range(15):
                pushed(broker, on_conflict=OnConflict.AFTER)
                for claim in broker.claim(worker_id, None, 1):
                    with counting:
                        running.append(claim.id)
                        at_once.append(len(running))
                    with counting:
                        running.remove(claim.id)
                    ended.extend(broker.settle([jobs.succeeded(broker, claim)]))
        finally:
            broker.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, ["w1", "w2", "w3"]))
    assert len(set(ended)) == len(ended) > 0
    assert set(at_once) == {1}
    while left := broker.claim("w1", None, 10):
        assert len(left) == 1
        broker.settle([jobs.succeeded(broker, left[0])])
    assert live(broker) == set()


# A window from the enqueue in which no other may have the key, though the job has ended.

WINDOW = f"finish/{60 * SECOND}:ab12"


def test_one_that_was_left_out_does_not_prolong_the_window(broker):
    ended = ended_in_window(broker)
    broker.keep([machine.leave_out(keyed(broker, WINDOW), ended, broker.clock.tick())])
    broker.clock.travel(31)
    job, standing = pushed(broker, WINDOW)

    assert standing == job


def ended_in_window(broker):
    """Enqueue and finish a job whose key has a window of a minute, half of which has passed."""
    claim = claimed(broker, WINDOW)
    broker.settle([jobs.succeeded(broker, claim)])
    broker.clock.travel(30)
    return broker.get(claim.id)


def test_within_the_window_the_one_that_has_ended_stands(broker):
    ended = ended_in_window(broker)
    job, standing = pushed(broker, WINDOW)

    assert standing == ended
    assert broker.get(job.id) is None


def test_within_the_window_there_can_be_an_error(broker):
    ended = ended_in_window(broker)

    with pytest.raises(NotUnique, match="is succeeded") as caught:
        pushed(broker, WINDOW, on_conflict=OnConflict.RAISE)
    assert caught.value.job_id == ended.id
    assert live(broker) == set()


@pytest.mark.parametrize("on_conflict", [OnConflict.AFTER, OnConflict.REPLACE])
def test_within_the_window_one_more_is_put_off(broker, on_conflict):
    ended = ended_in_window(broker)
    job, standing = pushed(broker, WINDOW, on_conflict=on_conflict)
    _, same = pushed(broker, WINDOW, on_conflict=on_conflict)

    assert (standing.id, standing.state) == (same.id, "deferred") == (job.id, broker.get(job.id).state)
    assert standing.due_at == ended.enqueued_at + 60 * SECOND
    assert live(broker) == {job.id}


def test_behind_the_window_the_key_is_free(broker):
    ended_in_window(broker)
    broker.clock.travel(30)
    job, standing = pushed(broker, WINDOW)

    assert standing == job == broker.get(job.id)


def test_the_last_that_ended_counts(broker):
    ended_in_window(broker)
    broker.clock.travel(31)
    second = ended_in_window(broker)
    _, standing = pushed(broker, WINDOW)

    assert standing == second


def test_a_window_is_over_when_its_job_is_pruned(broker):
    ended = ended_in_window(broker)
    broker.prune([ended.state], broker.clock.tick(), 10)
    job, standing = pushed(broker, WINDOW)

    assert standing == job


def test_one_that_is_cancelled_keeps_the_window(broker):
    job, _ = pushed(broker, WINDOW)
    broker.cancel([job.id])
    _, standing = pushed(broker, WINDOW)

    assert standing == broker.get(job.id)
