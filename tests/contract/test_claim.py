"""claim: ready jobs go to one worker each, highest priority first, oldest first."""

import pytest

from mainspring import job as machine
from mainspring.job import State
from tests.contract import jobs
from tests.contract.threads import together, until


def test_becomes_running(broker):
    """A claimed job names its worker, its token and the moment, and is stored as it was returned."""
    (job,) = jobs.pushed(broker)
    broker.clock.travel(3)

    (claim,) = broker.claim("w1", None, 1)

    facts = {"worker_id": "w1", "token": claim.token, "last_attempted_at": broker.clock.moment()}
    assert claim == job._replace(state=State.RUNNING, **facts) == broker.get(job.id)
    assert 0 < claim.token < 2**63


def test_highest_priority_first(broker):
    """Priority goes before age, from 100 down to -100."""
    for priority in (0, -100, 100, 50, -1):
        jobs.pushed(broker, priority=priority)

    claimed = broker.claim("w1", None, 10)

    assert [job.priority for job in claimed] == [100, 50, 0, -1, -100]


def test_oldest_first(broker):
    """Within one priority the job that was enqueued first is first, whatever the order of the pushes."""
    old, middle, young = (jobs.new(broker) for _ in range(3))
    broker.push([middle])
    broker.push([young, old])

    claimed = [broker.claim("w1", None, 1)[0].id for _ in range(3)]

    assert claimed == [old.id, middle.id, young.id]


def test_one_line_over_all_queues(broker):
    """Several queues are one line: priority and age decide, not the queue."""
    pushed = [
        jobs.pushed(broker, queue_name=queue, priority=priority)[0]
        for priority in (5, 0)
        for queue in ("a", "b", "c", "a", "b", "c")
    ]

    claimed = [job.id for _ in range(3) for job in broker.claim("w1", ["c", "a", "b"], 4)]

    assert claimed == [job.id for job in pushed]


@pytest.mark.parametrize("queues", [None, ["default"], ["default", "mail"]])
def test_limit(broker, queues):
    """No more jobs are claimed than asked for, and no job twice."""
    pushed = jobs.pushed(broker, 5)

    claims = [broker.claim("w1", queues, 2) for _ in range(4)]

    assert [len(claim) for claim in claims] == [2, 2, 1, 0]
    assert [job.id for claim in claims for job in claim] == [job.id for job in pushed]


def test_limit_of_none(broker):
    """A worker without room claims nothing."""
    jobs.pushed(broker)

    assert broker.claim("w1", None, 0) == []


def test_large_limit(broker):
    """Hundreds of jobs can be claimed at once, in order."""
    pushed = jobs.pushed(broker, 600)

    claimed = broker.claim("w1", None, 500)

    assert [job.id for job in claimed] == [job.id for job in pushed[:500]]


def test_only_the_queues_named(broker):
    """Jobs of other queues are left alone."""
    mail, slow, _other = (jobs.pushed(broker, queue_name=name)[0] for name in ("mail", "slow", "other"))

    assert jobs.ids(broker.claim("w1", ["mail"], 5)) == {mail.id}
    assert jobs.ids(broker.claim("w1", {"slow", "mail", "unheard of"}, 5)) == {slow.id}


def test_no_queue_is_not_every_queue(broker):
    """A worker of no queues claims nothing; None is every queue."""
    jobs.pushed(broker)

    assert broker.claim("w1", [], 5) == []
    assert len(broker.claim("w1", None, 5)) == 1


def test_queue_named_twice(broker):
    """To name a queue twice is to name it once."""
    pushed = jobs.pushed(broker, 4)

    claims = [broker.claim("w1", ["default", "default"], limit) for limit in (3, 5)]

    assert [[job.id for job in claim] for claim in claims] == [
        [job.id for job in part] for part in (pushed[:3], pushed[3:])
    ]


def test_very_many_queues(broker):
    """There may be more queues than a statement can name: one for each customer, say."""
    many = [jobs.new(broker, queue_name=f"customer-{n}") for n in range(1_200)]
    broker.push(many)

    claimed = [
        job.id for queues in (None, [job.queue_name for job in many]) for job in broker.claim("w1", queues, 600)
    ]

    assert claimed == [job.id for job in many]


@pytest.mark.parametrize("alike", ["Mail", "mail ", "maïl", "mail\t", " mail"])
def test_queues_of_similar_names(broker, alike):
    """Names that differ in case, accent or blanks are different queues, whatever the store's collation."""
    (job,) = jobs.pushed(broker, queue_name=alike)

    assert broker.claim("w1", ["mail"], 5) == []
    assert broker.claim("w1", ["mail"], 5, ["app.tasks.other"]) == []
    assert jobs.ids(broker.claim("w1", [alike], 5)) == {job.id}


def test_queues_of_strange_names(broker):
    """A name may hold quotes, percent signs and any letter."""
    names = ["it's", 'say "hi"', "100%", "%s", "{a,b}", "back\\slash", "NULL", "очередь", "🚀", ","]
    for name in names:
        jobs.pushed(broker, queue_name=name)

    assert [job.queue_name for job in broker.claim("w1", names, 20)] == names


def test_skips_tasks(broker):
    """Jobs of the tasks to skip stay ready, in their place; the limit counts the others."""
    skipped = jobs.pushed(broker, 3, task_path="app.gone")
    (job,) = jobs.pushed(broker)

    claimed = broker.claim("w1", None, 1, skip_tasks=["app.gone", "app.never"])

    assert jobs.ids(claimed) == {job.id}
    assert jobs.states(broker, skipped) == [State.READY] * 3


def test_skips_tasks_for_this_claim_only(broker):
    """What one claim skips is claimed by the next worker who knows the task, first come first."""
    pushed = [*jobs.pushed(broker, 3, task_path="app.gone"), *jobs.pushed(broker, 2)]
    broker.clock.travel(60)
    broker.claim("w1", ["default"], 1, skip_tasks=["app.gone"])

    claimed = broker.claim("w2", ["default"], 5)

    assert [job.id for job in claimed] == [job.id for job in (*pushed[:3], pushed[4])]


def test_skips_other_tasks(broker):
    """A claim that skips other tasks than the one before finds what that one skipped."""
    first, second = (jobs.pushed(broker, task_path=path)[0] for path in ("app.gone", "app.lost"))
    broker.clock.travel(60)
    assert broker.claim("w1", ["default"], 1, ["app.gone", "app.lost"]) == []

    assert jobs.ids(broker.claim("w1", ["default"], 1, ["app.gone"])) == {second.id}
    assert jobs.ids(broker.claim("w1", ["default"], 1, ["app.lost"])) == {first.id}


def test_skips_tasks_again_and_again(broker):
    """A claim that skips finds every other job, in order, however many it skips before and between them."""
    wanted = []
    for priority in (1, 0):
        for _ in range(4):
            jobs.pushed(broker, 5, task_path="app.gone", priority=priority)
            wanted += jobs.pushed(broker, priority=priority)
    broker.clock.travel(60)

    claims = [broker.claim("w1", queues, 3, ["app.gone"]) for queues in (None, ["default"], None, None)]

    assert [job.id for claim in claims for job in claim] == [job.id for job in wanted]


def test_skips_what_it_has_skipped_and_finds_what_is_new(broker):
    """Jobs pushed after a claim that found only jobs to skip are found at once, in every queue and priority."""
    for priority in (5, 0, -5):
        jobs.pushed(broker, 3, task_path="app.gone", priority=priority)
    broker.clock.travel(60)
    assert broker.claim("w1", None, 1, ["app.gone"]) == []

    for priority in (-5, -6, 0, 3, 5, 9):
        (low,) = jobs.pushed(broker, priority=priority)
        (other,) = jobs.pushed(broker, queue_name="mail", priority=priority)
        assert [job.id for job in broker.claim("w1", None, 2, ["app.gone"])] == [low.id, other.id]


def test_finds_what_comes_back_among_skipped(broker):
    """A job that goes back to an early place is found within seconds, though claims skipped that place."""
    (job,) = jobs.claimed(broker)
    jobs.pushed(broker, 3, task_path="app.gone")
    broker.clock.travel(60)
    assert broker.claim("w2", None, 1, ["app.gone"]) == []
    broker.settle([machine.release(job)])

    broker.clock.travel(6)

    assert jobs.ids(broker.claim("w2", None, 1, ["app.gone"])) == {job.id}


def test_finds_what_comes_back_to_a_busy_line(broker):
    """A job that goes back to an early place is next within seconds, though its queue is never empty."""
    jobs.pushed(broker, 10)
    broker.clock.travel(60)
    first, _ = broker.claim("w1", ["default"], 2)
    broker.settle([machine.release(first)])

    for _ in range(2):
        broker.claim("w2", ["default"], 1)
        broker.clock.travel(6)

    assert broker.get(first.id).worker_id == "w2"


def test_finds_what_comes_back_when_there_is_room(broker):
    """A claim that has room for more takes also what has just gone back to an early place."""
    pushed = jobs.pushed(broker, 5)
    broker.clock.travel(60)
    claimed = broker.claim("w1", ["default"], 4)
    broker.settle([machine.release(job) for job in claimed])

    assert [job.id for job in broker.claim("w2", ["default"], 10)] == [job.id for job in pushed]


def test_skips_only_the_very_path(broker):
    """Task paths that differ in case only are different tasks."""
    (job,) = jobs.pushed(broker, task_path="app.tasks.Send")

    assert jobs.ids(broker.claim("w1", None, 5, ["app.tasks.send"])) == {job.id}


def test_token_per_claim(broker):
    """Jobs of one claim share a token; the next claim has another."""
    jobs.pushed(broker, 4)

    first, second = broker.claim("w1", None, 2), broker.claim("w1", None, 2)

    assert len({job.token for job in first}) == 1
    assert len({job.token for job in [*first, *second]}) == 2


def test_new_token_when_claimed_again(broker):
    """A job that went back gets a fresh token with its next claim."""
    (first,) = jobs.claimed(broker)
    broker.settle([machine.release(first)])

    (second,) = broker.claim("w1", None, 1)

    assert second.id == first.id
    assert second.token != first.token


def test_only_ready_jobs(broker):
    """Deferred, running and ended jobs are never claimed."""
    jobs.finished(broker)
    jobs.claimed(broker)
    jobs.pushed(broker, run_after=broker.clock.moment() + 1_000_000)
    broker.clock.travel(10)

    assert broker.claim("w2", None, 5) == []


@pytest.mark.parametrize("queues", [None, ["default", "mail"]])
def test_each_job_to_one_of_many(broker, queues):
    """Of several workers who claim at the same time, each job goes to exactly one."""
    pushed = jobs.pushed(broker, 150) + jobs.pushed(broker, 150, queue_name="mail")

    def claim_all(worker_id):
        return [job for claim in iter(lambda: broker.claim(worker_id, queues, 7), []) for job in claim]

    claims = together(broker, *[lambda name=name: claim_all(name) for name in ("w1", "w2", "w3", "w4")])

    claimed = [job.id for claim in claims for job in claim]
    assert len(claimed) == len(set(claimed))
    left = broker.claim("late", queues, 1_000)  # a claim may pass over a job that another is about to take
    assert set(claimed) | jobs.ids(left) == jobs.ids(pushed)
    assert all(job.worker_id == f"w{n}" for n, claim in enumerate(claims, 1) for job in claim)


def test_work_is_done_once_by_many(broker):
    """Workers who claim and finish side by side, while jobs are still pushed, run each job once."""
    ran = []

    def work(worker_id):
        for _ in until(lambda: len(ran) >= 200):
            done = [jobs.succeeded(broker, job) for job in broker.claim(worker_id, ["default"], 8)]
            ran.extend(broker.settle(done))

    def push():
        return [job for _ in range(20) for job in jobs.pushed(broker, 10)]

    *_, pushed = together(broker, *[lambda name=name: work(name) for name in ("w1", "w2", "w3")], push)

    assert sorted(ran) == sorted(job.id for job in pushed)
    assert set(jobs.states(broker, pushed)) == {State.SUCCEEDED}


def test_a_claim_can_be_told_its_token(broker):
    """So that whoever did not hear the reply can look for what it took."""
    jobs.pushed(broker, 2)
    taken = broker.claim("w1", None, 2, token=77)

    assert {job.token for job in taken} == {77}
    assert {job.token for job in broker.held_by(["w1"], 10)} == {77}
