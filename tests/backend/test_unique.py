"""Unique tasks as their callers see them."""

import contextlib
import threading
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction

import mainspring
from mainspring import Unique, enqueue_many
from mainspring import job as machine
from mainspring.compat import InvalidTask, task_enqueued
from mainspring.conf import options_for
from mainspring.exceptions import InvalidArguments, KeyLocked, NotUnique
from mainspring.testing import drain, enqueued_jobs, travel
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.outcomes import Outcomes
from tests.app import tasks


def test_a_second_enqueue_returns_the_first(on):
    first = on(tasks.sync).enqueue(1)
    second = on(tasks.sync).enqueue(1)

    assert (first.is_existing, second.is_existing) == (False, True)
    assert second == first


@pytest.mark.parametrize("same", [((1,), {"dry": False}), ((), {"account_id": 1}), ((1, False), {})])
def test_however_they_are_given_the_same_arguments_are_the_same(on, same):
    args, kwargs = same
    first = on(tasks.sync).enqueue(1)

    assert on(tasks.sync).enqueue(*args, **kwargs).id == first.id


def test_other_arguments_and_other_tasks_are_others(on, alias):
    for task, args in [(tasks.sync, (1,)), (tasks.sync, (2,)), (tasks.sync, (1, True)), (tasks.once_more, (1,))]:
        assert not on(task).enqueue(*args).is_existing
    assert len(enqueued_jobs(alias)) == 4


def test_who_is_told_of_an_enqueue_is_told_of_new_jobs_only(on):
    told = []
    receiver = lambda task_result, **kwargs: told.append(task_result.id)  # noqa: E731
    task_enqueued.connect(receiver)
    try:
        first, _ = on(tasks.sync).enqueue(1), on(tasks.sync).enqueue(1)
    finally:
        task_enqueued.disconnect(receiver)
    assert told == [first.id]


def test_the_end_makes_room(on, run):
    on(tasks.sync).enqueue(1)
    run()

    assert not on(tasks.sync).enqueue(1).is_existing


def test_a_burst_becomes_one_run_with_the_last_arguments(on, run):
    """Debounce: each call puts the run off and gives it its own arguments."""
    debounced = on(tasks.reindex, run_after=timedelta(seconds=5))
    first = debounced.enqueue(1, "a")
    last = debounced.enqueue(1, "b")

    assert (last.id, last.is_existing, last.args) == (first.id, True, [1, "b"])
    assert last.task.run_after > first.task.run_after
    assert run() == 0
    with travel(6, backend=first.backend):
        assert run() == 1
    assert first.get(timeout=0) == "b"


def test_a_function_can_say_what_is_the_same(on):
    first = on(tasks.by_shard).enqueue(3, "a")
    on(tasks.by_shard).enqueue(4, "a")

    with pytest.raises(NotUnique, match=r"tests\.app\.tasks\.by_shard: job .* is ready; nothing was stored") as caught:
        on(tasks.by_shard).enqueue(13, "b")
    assert caught.value.job_id == first.id


def test_many_calls_return_a_result_each(on, alias):
    results = enqueue_many(on(tasks.sync), [(number % 3,) for number in range(7)])

    assert [result.is_existing for result in results] == [False] * 3 + [True] * 4
    assert len({result.id for result in results}) == 3 == len(enqueued_jobs(alias))


def test_a_window_outlasts_the_run(on, run):
    first = on(tasks.once_in_ten_minutes).enqueue(1)
    run()
    second = on(tasks.once_in_ten_minutes).enqueue(1)

    assert (second.id, second.is_existing, second.is_finished) == (first.id, True, True)
    with travel("11m", backend=first.backend):
        assert not on(tasks.once_in_ten_minutes).enqueue(1).is_existing


def test_a_retry_that_meets_a_twin_leaves_the_work_to_it(on, run, alias):
    if alias == "memory":
        pytest.skip("the task enqueues on the default backend")
    first = on(tasks.enqueue_a_twin_and_fail).enqueue(1)
    assert run() == 2
    first.refresh()

    assert first.state == "discarded"
    assert [error.exception_class_path for error in first.errors] == [
        "builtins.ValueError",
        "mainspring.exceptions.Superseded",
    ]


def test_a_rollback_gives_the_key_back(on, alias):
    with transaction.atomic():
        on(tasks.sync).enqueue(1)
        transaction.set_rollback(True)

    assert not on(tasks.sync).enqueue(1).is_existing


def test_what_the_same_transaction_has_stored_is_met(on, broker):
    if not broker.is_transactional:
        pytest.skip("the broker hears of jobs at the commit")
    with transaction.atomic():
        first = on(tasks.sync).enqueue(1)
        second = on(tasks.sync).enqueue(1)

    assert (second.id, second.is_existing) == (first.id, True)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_one_that_is_sent_later_and_meets_another_is_discarded():
    """Its caller has its id already, and learns what stands for it."""
    first = tasks.sync.enqueue(1)
    with transaction.atomic(using="other"):
        late = tasks.sync.enqueue(1)
        other = tasks.sync.enqueue(2)
    assert not late.is_existing
    late.refresh()

    assert (late.state, other.state) == ("discarded", "ready")
    assert f"Job {first.id} with the same unique key" in late.errors[0].traceback
    assert drain() == 2
    late.refresh()
    assert late.state == "discarded"


@pytest.fixture
def elsewhere(alias):
    """Enqueue in a transaction of another connection: `with elsewhere(task, *args): ...`; at its end it is undone."""
    if alias == "memory" or connection.vendor == "sqlite" or settings.STORE == "redis":
        pytest.skip("needs transactions that run beside each other")

    @contextlib.contextmanager
    def begun(task, *args):
        is_there, over = threading.Event(), threading.Event()

        def run():
            with transaction.atomic():
                task.enqueue(*args)
                is_there.set()
                over.wait(30)
                transaction.set_rollback(True)
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        assert is_there.wait(10)
        try:
            yield
        finally:
            over.set()
            thread.join()

    return begun


def test_who_meets_a_transaction_that_has_not_ended_waits_for_a_moment(on, elsewhere):
    with elsewhere(on(tasks.sync), 1):
        began = time.monotonic()
        with pytest.raises(KeyLocked, match="has not ended has stored a job with the same unique key"):
            on(tasks.sync).enqueue(1)
        assert 1.0 < time.monotonic() - began < 8.0
        with transaction.atomic():
            with pytest.raises(KeyLocked):
                on(tasks.sync).enqueue(1)
            other = on(tasks.sync).enqueue(2)
    assert not other.is_existing
    assert not on(tasks.sync).enqueue(1).is_existing


def test_who_comes_back_meanwhile_holds_nobody_up(on, broker, elsewhere):
    """The others of its batch are stored at once, and it is when the transaction has ended."""
    keyed, plain = on(tasks.reindex).enqueue(1, "a"), on(tasks.noop).enqueue()
    claims = {job.id: job for job in broker.claim("w1", None, 5)}
    at = broker.clock.moment()
    back, ended = machine.release(claims[keyed.id]), machine.succeed(claims[plain.id], "null", at, at)
    with elsewhere(on(tasks.reindex), 1, "b"):
        began = time.monotonic()
        assert broker.settle([back, ended]) == {plain.id}
        assert time.monotonic() - began < 5.0
        assert broker.get(keyed.id).state == "running"
    assert broker.settle([back]) == {keyed.id}
    assert broker.get(keyed.id).state == "ready"


def test_a_worker_tries_again_what_comes_back_meanwhile(on, broker, elsewhere):
    """It is stored when the transaction has ended, and nothing is lost."""
    options = options_for("default")
    execution = Execution(broker, options, object)
    outcomes = Outcomes(broker, options, execution, lambda: None)
    keyed = on(tasks.reindex).enqueue(1, "a")
    (claim,) = broker.claim("w1", None, 5)
    with elsewhere(on(tasks.reindex), 1, "b"):
        outcomes.add(Ran(claim, machine.release(claim)))
        assert [len(stored) for stored in outcomes.flush()] == [0]
        assert len(outcomes) == 1
    while len(outcomes):
        time.sleep(0.1)
        list(outcomes.flush())
    assert broker.get(keyed.id).state == "ready"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"until": "end"}, "until must be 'start' or 'finish', not 'end'"),
        ({"on_conflict": "replaced"}, "on_conflict must be one of 'existing', 'replace', 'raise', 'after'"),
        ({"by": 3}, "by must be names of arguments or a function of them, not 3"),
        ({"by": []}, "by must be names of arguments"),
        ({"window": "soon"}, "window must be seconds, a timedelta or a text like '10m', up to a year, not 'soon'"),
        ({"window": 0}, "window must be seconds"),
        ({"window": 60, "until": "start"}, "a window goes with until='finish' only"),
    ],
)
def test_what_unique_cannot_mean_is_named(options, problem):
    with pytest.raises(ValueError, match=problem):
        Unique(**options)


def test_a_name_that_the_function_does_not_know():
    with pytest.raises(InvalidTask, match=r"unique: by: the function has no argument 'acount_id'; did you mean 'acc"):
        mainspring.Task(func=tasks.sync.func, unique=Unique(by="acount_id"))


def test_an_option_that_is_no_unique():
    with pytest.raises(InvalidTask, match="unique: expected a Unique, True or None, got 'yes'"):
        mainspring.Task(func=tasks.sync.func, unique="yes")


def test_a_key_that_json_cannot_carry(on):
    task = mainspring.Task(func=tasks.sync.func, unique=Unique(by=lambda account_id, dry: object()))

    with pytest.raises(InvalidArguments, match="no unique key can be made of <object"):
        on(task).enqueue(1)
