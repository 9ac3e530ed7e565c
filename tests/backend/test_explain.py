"""Why a job does not run, as its caller is told."""

import json
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction
from django.utils.dateparse import parse_datetime

from mainspring import job as machine
from mainspring.brokers.admission import Change
from mainspring.brokers.base import WorkerInfo
from mainspring.clock import SECOND
from mainspring.conf import options_for
from mainspring.explain import explain
from mainspring.job import State
from mainspring.testing import travel
from mainspring.worker.admission import admitted
from mainspring.worker.known_tasks import KnownTasks
from tests.app import tasks
from tests.stores import only_databases

BOOM = machine.error_entry("builtins.ValueError", "Traceback:\n  ...\nValueError: boom")
HOUR = timedelta(hours=1)


@pytest.fixture
def beat(broker):
    """Let a worker live that serves every queue, unless `facts` say otherwise."""

    def beat(id="w1", **facts):
        broker.beat([WorkerInfo(id, facts={"queues": None, "threads": 4, "async": 100, **facts})])

    return beat


@pytest.fixture
def start(broker):
    """Let a worker claim what is ready, and ask which of these jobs may run."""

    def start(worker_id="w1", **facts):
        jobs = broker.claim(worker_id, None, 100, **facts)
        return admitted(broker, options_for(broker.alias), KnownTasks(broker.clock, ()), jobs).may_run

    return start


@pytest.fixture
def fail(broker):
    """Let a claimed job end without success."""

    def fail(job, state=State.FAILED):
        at = broker.clock.moment()
        broker.settle([machine.fail(job, BOOM, at, at, state)])

    return fail


def told(result):
    """Return the code and the data, of which scripts must be able to read both."""
    found = result.explain()
    json.dumps(found.data)
    assert str(found) == found.text
    assert found.text.endswith((".", "boom"))
    return found.code, found.data


# It runs.


def test_running(on, beat, start):
    beat()
    result = on(tasks.add).enqueue(1, 2)
    (job,) = start()
    code, data = told(result)

    assert (code, data["worker_id"], data["attempt"], data["crashes"]) == ("running", "w1", 1, 0)
    assert abs(parse_datetime(data["since"]).timestamp() * SECOND - job.last_attempted_at) < SECOND
    assert "It runs on worker w1 since 2" in str(result.explain())


def test_running_again(on, beat, start, broker):
    beat()
    result = on(tasks.add).enqueue(1, 2)
    (job,) = start()
    at = broker.clock.moment()
    broker.settle([machine.retry(job, BOOM, at, at, at)])
    start()

    assert str(result.explain()).endswith(": attempt 2.")


@pytest.mark.parametrize("others", [True, False])
def test_its_worker_is_silent(on, beat, start, others):
    beat()
    result = on(tasks.add).enqueue(1, 2)
    start()
    with travel(60, backend=result.backend):
        if others:
            beat("w2")
        code, data = told(result)
        text = str(result.explain())

    assert (code, data["worker_id"]) == ("lost", "w1")
    assert ("the others take it back" in text) is others
    assert ("No worker lives" in text) is not others


def test_a_worker_with_a_longer_lease_is_not_silent(on, beat, start):
    beat(rescue_after=300)
    result = on(tasks.add).enqueue(1, 2)
    start()
    with travel(60, backend=result.backend):
        assert told(result)[0] == "running"


def test_nobody_knows_its_worker(on, start):
    result = on(tasks.add).enqueue(1, 2)
    start("unheard-of")

    assert told(result)[0] == "lost"
    assert "unheard-of is not known any more" in str(result.explain())


# It has ended.


def test_succeeded(on, run):
    result = on(tasks.add).enqueue(1, 2)
    run()
    code, data = told(result)

    assert (code, data["attempts"]) == ("succeeded", 1)
    assert str(result.explain()).endswith("UTC, after 1 attempt.")


def test_failed(on, run):
    result = on(tasks.fail).enqueue("boom")
    run()
    code, data = told(result)

    assert (code, data["error"]["class"]) == ("failed", "builtins.ValueError")
    assert str(result.explain()).endswith("after 1 attempt: ValueError: boom")


def test_cancelled(on, broker):
    result = on(tasks.add).enqueue(1, 2)
    broker.cancel([result.id])

    assert told(result)[0] == "cancelled"
    assert str(result.explain()).startswith("It was cancelled before it ran, at 2")


@pytest.mark.parametrize("state", [State.EXPIRED, State.DISCARDED])
def test_other_ends(on, start, fail, state):
    result = on(tasks.add).enqueue(1, 2)
    fail(*start(), state=state)

    assert told(result)[0] == state


def test_quarantined(on, start, broker):
    result = on(tasks.add).enqueue(1, 2)
    for is_second in (False, True):
        start("dead", **({"alone": True} if is_second else {}))
        broker.rescue(["dead"], max_crashes=2)
    code, data = told(result)

    assert (code, data["crashes"]) == ("quarantined", 2)
    assert "Its worker died under it 2 times, as often as it may" in str(result.explain())


def test_superseded(on, start, broker):
    first = on(tasks.reindex).enqueue(1, "a")
    start("dead")
    second = on(tasks.reindex).enqueue(1, "b")
    broker.rescue(["dead"], max_crashes=5)

    assert told(first)[0] == "superseded"
    assert told(first)[1]["by"] == second.id


def test_left_out_when_it_was_sent(on, broker):
    """What it met stands in its own row, and can be told also after that has ended."""
    first = on(tasks.sync).enqueue(1)
    job = broker.get(first.id)
    out = machine.leave_out(job._replace(id=machine.new_id()), job, broker.clock.moment())
    broker.keep([out])
    broker.cancel([first.id])
    found = explain(broker, out.id)

    assert (found.code, found.data["by"]) == ("superseded", first.id)
    assert f"Job {first.id} with the same unique key does its work" in str(found)


# It waits for a moment.


def test_deferred(on):
    result = on(tasks.add, run_after=HOUR).enqueue(1, 2)
    code, data = told(result)

    assert (code, data["attempts"]) == ("deferred", 0)
    assert parse_datetime(data["due_at"]) == result.task.run_after
    assert f"{result.task.run_after:%Y-%m-%d %H:%M:%S} UTC" in str(result.explain())


def test_waiting_to_be_tried_again(on, run):
    result = on(tasks.ship_or_fail).enqueue(-1)
    run()
    code, data = told(result)

    assert (code, data["attempts"], data["error"]["text"]) == ("retry", 1, "ValueError: boom")
    assert "Attempt 1 ended in an error, and the next is due at 2" in str(result.explain())


def test_due(on, beat):
    """Where a worker lives it lines up at once; where none does, that is why it does not."""
    result = on(tasks.add, run_after=HOUR).enqueue(1, 2)
    with travel(3601, backend=result.backend):
        assert told(result)[0] == "no_worker"
        beat()
        assert told(result)[0] == "due"


# It is ready.


def test_next_in_line(on, beat):
    beat()
    result = on(tasks.add).enqueue(1, 2)

    assert told(result) == ("ready", {"ahead": 0, "is_more": False, "workers": 1})
    assert str(result.explain()) == "It is ready, and in the queue 'default' it is next; 1 worker process serves that."


def test_others_are_ahead(on, beat):
    beat()
    beat("w2")
    on(tasks.mail).enqueue("ann@example.org")
    results = [on(tasks.add).enqueue(number, 2) for number in range(3)]

    assert [told(result)[1]["ahead"] for result in results] == [0, 1, 2]
    assert "2 jobs stand before it; 2 worker processes serve that" in str(results[2].explain())
    assert "1 job stands before it" in str(results[1].explain())


def test_very_many_are_ahead(on, beat, broker, monkeypatch):
    """They are not counted to the end."""
    monkeypatch.setattr("mainspring.explain.COUNTED", 3)
    beat()
    results = [on(tasks.add).enqueue(number, 2) for number in range(5)]

    assert told(results[3])[1] == {"ahead": 3, "is_more": False, "workers": 1}
    assert told(results[4])[1] == {"ahead": 3, "is_more": True, "workers": 1}
    assert "more than 3 jobs stand before it" in str(results[4].explain())


def test_no_worker_lives(on, beat, alias):
    result = on(tasks.add).enqueue(1, 2)
    assert told(result)[0] == "no_worker"
    way_out = "mainspring.testing.drain('memory')" if alias == "memory" else "mainspring worker --backend default"
    assert way_out in str(result.explain())

    beat()
    assert told(result)[0] == "ready"
    with travel(60, backend=alias):
        assert told(result)[0] == "no_worker"


@pytest.mark.parametrize("facts", [{"stopping": True}, {"alone": True}])
def test_a_worker_that_takes_nothing_new_is_none(on, beat, facts):
    beat(**facts)

    assert told(on(tasks.add).enqueue(1, 2))[0] == "no_worker"


def test_nobody_serves_its_queue(on, beat):
    beat(queues=["mail", "slow"])
    result = on(tasks.add).enqueue(1, 2)

    assert told(result) == ("queue_not_served", {"queue": "default", "served": ["mail", "slow"]})
    assert "No living worker serves the queue 'default', only 'mail', 'slow'. Start one with" in str(result.explain())
    beat("w2", queues=["default"])
    assert told(result)[1]["workers"] == 1


def test_a_worker_of_an_older_version_does_not_say_what_it_serves(on, broker):
    broker.beat([WorkerInfo("w1", facts={"queues": "mail"}), WorkerInfo("w2")])

    assert told(on(tasks.add).enqueue(1, 2)) == ("ready", {"ahead": 0, "is_more": False, "workers": 2})


def test_an_unknown_task(beat, broker):
    beat()
    facts = {"arguments": "{}", "queue_name": "default", "priority": 0, "at": broker.clock.moment()}
    jobs = [machine.new_job(task_path=path, **facts) for path in ("tests.app.tasks.gone", "elsewhere.tasks.add")]
    broker.push(jobs)
    gone, elsewhere = (explain(broker, job.id) for job in jobs)

    assert (gone.code, elsewhere.code) == ("unknown_task", "unknown_task")
    assert "0 of 1 worker process that could run it say the same. 'tests.app.tasks.gone' is no task" in str(gone)
    beat(left_alone=["tests.app.tasks.gone"])
    assert explain(broker, jobs[0].id).data["workers"] == ["w1"]
    assert "Add its app to INSTALLED_APPS" in str(elsewhere)


def test_workers_that_do_not_know_its_task(on, beat):
    """Some may have older code. One that knows it is enough."""
    result = on(tasks.add).enqueue(1, 2)
    beat("w1", left_alone=["tests.app.tasks.add", "x.y"])
    beat("w2", queues=["mail"])

    assert told(result) == ("task_not_served", {"task": "tests.app.tasks.add", "workers": ["w1"]})
    beat("w3", left_alone=["x.y"])
    assert told(result)[0] == "ready"


@pytest.mark.parametrize(
    ("task", "facts"), [(tasks.noop, {"threads": 0}), (tasks.async_noop, {"async": 0})], ids=["sync", "async"]
)
def test_workers_without_room_for_its_kind(on, beat, task, facts):
    beat(**facts)
    result = on(task).enqueue()

    assert told(result)[0] == "task_not_served"
    assert f"every living worker that serves the queue has `--{next(iter(facts))} 0`" in str(result.explain())
    beat("w2")
    assert told(result)[0] == "ready"


def test_waits_to_run_alone(on, beat, start, broker):
    beat()
    results = [on(tasks.add).enqueue(number, 2) for number in range(2)]
    start("dead")
    broker.rescue(["dead"], max_crashes=5)
    on(tasks.add).enqueue(3, 4)

    assert [told(result)[0] for result in results] == ["alone", "alone"]
    assert [told(result)[1]["ahead"] for result in results] == [0, 1]
    assert "Its worker died under it 1 time, so it waits to run alone" in str(results[0].explain())


# It is parked, or waits.


def test_a_full_limit(on, beat, start):
    beat()
    first, second = (on(tasks.charge).enqueue(7) for _ in range(2))
    start()
    code, data = told(second)

    assert code == "limit_full"
    assert data == {"limit": "stripe:7", "cost": 1, "concurrency": 1, "held": 1, "holding": [first.id]}
    assert str(second.explain()) == f"Limit 'stripe:7' has no room for it: 1 of 1 is held by job {first.id}."


def test_many_hold_a_limit(on, broker, start, monkeypatch):
    monkeypatch.setattr("mainspring.explain.NAMED", 1)
    broker.change_limit("all", Change(is_given=True, concurrency=2))
    results = [on(tasks.charge).enqueue(number) for number in range(3)]
    start()

    assert "2 of 2 are held by jobs " in str(results[2].explain())
    assert " and 1 more." in str(results[2].explain())


def test_a_rate(on, start, beat):
    results = [on(tasks.charge).enqueue(number) for number in range(3)]
    start()
    code, data = told(results[2])

    assert (code, data["limit"], data["rate"]) == ("limit_rate", "all", "2/60s")
    assert data["due_at"][:4] == str(results[2].explain()).split(" comes at ")[1][:4]
    with travel(31, backend=results[2].backend):
        beat()
        assert told(results[2])[0] == "due"


def test_a_paused_limit(on, start, broker):
    broker.change_limit("all", Change(paused_until=broker.clock.moment() + 3600 * SECOND))
    result = on(tasks.charge).enqueue(1)
    start()
    code, data = told(result)

    assert (code, data["limit"]) == ("limit_paused", "all")
    assert parse_datetime(data["paused_until"]) > result.enqueued_at + HOUR / 2


def test_a_limit_that_is_paused_for_ever(on, start, broker):
    broker.change_limit("all", Change(paused_until=2**62))
    result = on(tasks.charge).enqueue(1)
    start()

    assert told(result)[1]["paused_until"] is None
    assert "paused until somebody lets it go on" in str(result.explain())


def test_behind_another_of_its_order(on, start, broker, fail):
    first, second = (on(tasks.ship).enqueue(7) for _ in range(2))
    (running,) = start()

    assert told(second) == ("order", {"key": "order:7", "behind": first.id, "behind_state": "running"})
    assert f"it is the turn of job {first.id}: running." in str(second.explain())
    at = broker.clock.moment()
    broker.settle([machine.retry(running, BOOM, at, at, at + 60 * SECOND)])
    assert told(second)[1]["behind_state"] == "deferred"
    assert str(second.explain()).endswith("deferred. Ask why that one does not run.")


def test_waits_for_a_place_among_other_keys(on, beat):
    result = on(tasks.report).enqueue("acme", 1)
    assert told(result)[0] == "no_worker"
    beat()

    assert told(result) == ("fair", {"key": "acme"})


def test_behind_a_twin(on, start):
    first = on(tasks.once_more).enqueue(1)
    start()
    second = on(tasks.once_more).enqueue(1)

    assert told(second) == ("unique", {"behind": first.id, "behind_state": "running"})


def test_behind_a_twin_that_is_gone(on, start, broker):
    """Its end was stored by somebody who died before the other could go on."""
    on(tasks.once_more).enqueue(1)
    job = broker.get(on(tasks.add).enqueue(1, 2).id)
    waiting = machine.stand_behind(job._replace(id=machine.new_id(), unique_key="finish:ab", holds_key="ab"))
    broker.push([waiting])

    assert explain(broker, waiting.id).data["behind"] is None


# It is not there.


@pytest.mark.parametrize("id", ["", "nonsense", "x" * 500, "019a1c2e-7b60-7c3f-8a51-5f0d3c9e2b11"])
def test_an_unknown_id(broker, id):
    found = explain(broker, id)

    assert (found.code, found.data) == ("unknown_id", {"id": id, "backend": broker.alias})


def test_a_deleted_job(on, run, broker):
    result = on(tasks.add).enqueue(1, 2)
    run()
    broker.delete([result.id])

    assert told(result)[0] == "unknown_id"


def test_a_job_of_an_open_transaction(on, alias, beat, broker):
    """Nobody else can see it, wherever it lies until the commit."""
    beat()
    is_beside = settings.STORE == "redis" or alias == "memory"
    before = on(tasks.add).enqueue(1, 2)
    with transaction.atomic():
        result = on(tasks.add).enqueue(1, 2)
        code, data = told(result)
        assert told(before)[0] == "ready"
    assert (code, data["database"]) == ("unsent" if is_beside else "uncommitted", "default")
    assert told(result)[0] == "ready"
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        result = on(tasks.add).enqueue(1, 2)
        raise ZeroDivisionError
    assert told(result)[0] == "unknown_id"


@only_databases
def test_a_job_that_was_committed_before_is_seen_from_a_transaction(on, beat):
    beat()
    before = on(tasks.add).enqueue(1, 2)
    with transaction.atomic():
        assert told(before)[0] == "ready"


def test_a_job_that_is_sent_while_one_looks(broker, beat, on, monkeypatch):
    """It is neither in the store at the first look nor in the outbox at the second."""
    beat()
    looks = []
    result = on(tasks.add).enqueue(1, 2)
    get = broker.get
    monkeypatch.setattr(broker, "get", lambda id: looks.append(id) or (get(id) if len(looks) > 1 else None))

    assert told(result)[0] == "ready"


def test_async(on):
    result = on(tasks.add).enqueue(1, 2)

    assert async_to_sync(result.aexplain)().code == "no_worker"


def test_a_job_that_moves_meanwhile_is_looked_at_again(on, broker, beat, start, monkeypatch):
    """What is said belongs to one moment."""
    beat()
    result = on(tasks.add).enqueue(1, 2)
    ahead = broker.ahead

    def claim_meanwhile(*args):
        start()
        return ahead(*args)

    monkeypatch.setattr(broker, "ahead", claim_meanwhile)

    assert told(result)[0] == "running"


NO_DATE = 2**52 - 1 + 2**60


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"state": "deferred", "rank": None, "due_at": NO_DATE}, "deferred"),
        ({"state": "deferred", "rank": None, "due_at": NO_DATE, "attempts": 1, "errors": "{"}, "deferred"),
        ({"state": "deferred", "rank": None, "due_at": NO_DATE, "attempts": 1, "errors": '[1, {"a": 2}]'}, "retry"),
        ({"state": "parked", "rank": None, "place": 1, "parked_under": "x", "limits": "[1, "}, "limit_full"),
        ({"state": "parked", "rank": None, "place": 1, "parked_under": "key:a", "order_key": "key:a"}, "order"),
        ({"state": "waiting", "rank": None, "due_at": NO_DATE}, "unique"),
        ({"task_path": ""}, "unknown_task"),
    ],
)
def test_jobs_that_nobody_would_write(broker, beat, facts, code):
    """They are explained as far as they can be read."""
    beat()
    usual = {"task_path": "a.b", "arguments": "{}", "queue_name": "default", "priority": 0}
    job = machine.new_job(**usual, at=broker.clock.moment())._replace(**facts)
    broker.push([job])
    found = explain(broker, job.id)

    assert found.code == code
    json.dumps(found.data)
