"""Values that stores stumble over: each comes back letter by letter, or is refused alone and by name."""

import json

import pytest

from mainspring import job as machine
from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.memory import MemoryBroker
from mainspring.exceptions import BrokerRefused
from mainspring.job import State
from tests.contract import jobs

DIGITS = "9" * 5_000  # Python itself refuses to make a number of these
KEPT = {
    "escaped NUL": json.dumps("a\0b"),
    "escaped lone surrogate": json.dumps("\ud83d"),
    "5,000 digits": f'{{"args": [{DIGITS}], "kwargs": {{}}}}',
    "two megabytes": json.dumps("x" * 2_000_000),
    "deeply nested": "[" * 100_000 + "]" * 100_000,
    "not JSON": "{broken",
    "nothing": "",
    "letters beyond 16 bits": '"🚀 𝔘𝔫𝔦 é e\u0301 \u202e"',
    "blanks at the ends": " \t x \r\n ",
    "quotes and signs": """'"`\\ %s %% {0} $1 :name ?""",
    "infinity": "[NaN, Infinity, -Infinity, 1e999]",
}
# No store need take these: JSON escapes them, so that they can only come from a fault.
RAW = {"NUL": "a\0b", "lone surrogate": "a\ud83db"}
SURROGATE = "\ud83d"

texts = pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
raw_texts = pytest.mark.parametrize("text", RAW.values(), ids=RAW)


@texts
def test_arguments(broker, text):
    """Arguments are a text that no broker reads: it comes back as it was."""
    job = jobs.new(broker, arguments=text)

    broker.push([job])

    assert broker.get(job.id) == job
    assert broker.search() == [job]
    assert broker.claim("w1", None, 1)[0].arguments == text


@texts
def test_outcome(broker, text):
    """Results and errors are texts that no broker reads, neither at the end nor between two attempts."""
    ended, retried = jobs.claimed(broker, 2)
    settled = [
        jobs.succeeded(broker, ended, text)._replace(errors=text, worker_ids=text),
        jobs.retried(broker, retried)._replace(errors=text, worker_ids=text),
    ]

    assert broker.settle(settled) == jobs.ids(settled)
    assert sorted(broker.search()) == sorted(settled)


def test_enormous_text(broker):
    """A text beyond what the store can carry is refused, not called an outage; the broker lives on."""
    enormous = "x" * 40_000_000
    job, other = jobs.claimed(broker, 2)

    try:
        broker.push([jobs.new(broker, arguments=enormous)])
    except BrokerRefused:
        assert broker.claim("w1", None, 1) == []
    accepted, refused = broker.settle_each([jobs.succeeded(broker, job, enormous), jobs.succeeded(broker, other)])

    assert other.id in accepted
    assert jobs.ids(job for job, _ in refused) == {job.id} - accepted


@texts
def test_history_that_cannot_be_read(broker, text):
    """A damaged history keeps no job from being rescued or cancelled."""
    held, idle = (jobs.new(broker)._replace(errors=text, worker_ids=text) for _ in range(2))
    broker.push([held, idle])
    broker.claim("w1", None, 1)

    (rescued,) = broker.rescue(["w1"], max_crashes=1)
    (cancelled,) = broker.cancel([idle.id])

    assert [broker.get(held.id), broker.get(idle.id)] == [rescued, cancelled]


@raw_texts
@pytest.mark.parametrize("field", ["arguments", "queue_name", "task_path"])
def test_raw_text_pushed(broker, field, text):
    """What a store cannot hold is refused with all of its push; what it can comes back as it was."""
    good, bad = jobs.new(broker), jobs.new(broker)._replace(**{field: text})

    try:
        broker.push([good, bad])
    except BrokerRefused:
        assert broker.search() == []
    else:
        assert broker.get(bad.id) == bad
    jobs.pushed(broker)


@raw_texts
def test_raw_text_in_a_question(broker, text):
    """To ask for what cannot be stored finds nothing or is refused; no error of a driver comes through."""
    jobs.pushed(broker)
    questions = [
        lambda: broker.get(text),
        lambda: broker.search(queue_name=text),
        lambda: broker.cancel([text]),
        lambda: broker.claim("w1", [text], 1),
        lambda: broker.held_by([text], 1),
        lambda: broker.wait_for(text, 0),
    ]

    for question in questions:
        try:
            assert not question()
        except BrokerRefused:
            continue

    assert broker.claim("w1", None, 1)


@pytest.mark.parametrize("field", ["queue_name", "task_path", "worker_id", "id"])
def test_long_names(broker, field):
    """A name that is too long for the store is refused, never cut."""
    job = jobs.new(broker)._replace(**{field: "x" * 10_000})

    try:
        broker.push([job])
    except BrokerRefused:
        assert broker.search() == []
    else:
        assert broker.search() == [job]


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 10**30])
@pytest.mark.parametrize("field", ["priority", "rank", "enqueued_at", "run_after", "attempts", "max_crashes"])
def test_large_numbers(broker, field, number):
    """A number beyond the store's range is refused, never wrapped or cut, also where `once` is asked for."""
    job = jobs.new(broker)._replace(**{field: number})

    try:
        broker.push([job], once=True)
    except BrokerRefused:
        assert broker.search() == []
    else:
        assert broker.search() == [job]


def test_facts_of_a_worker(broker):
    """What a worker tells of itself may hold anything that JSON can carry."""
    facts = {"nul": "\0", "surrogate": SURROGATE, "rocket": "🚀", "text": "x" * 100_000}

    assert broker.beat([WorkerInfo("w1", facts=facts)]).workers[0].facts == facts
    assert broker.workers()[0].facts == facts


@pytest.mark.parametrize("bad", ["ended", "retried"])
def test_refused_batch(database_broker, bad):
    """A batch with one value that the store refuses stores nothing, wherever that value stands."""
    held = jobs.claimed(database_broker, 300)
    good = [jobs.succeeded(database_broker, job) for job in held[:200]]
    good += [jobs.retried(database_broker, job) for job in held[200:]]
    place = {"ended": 150, "retried": 250}[bad]
    batch = [job._replace(errors=SURROGATE) if n == place else job for n, job in enumerate(good)]

    with pytest.raises(BrokerRefused):
        database_broker.settle(batch)

    assert sorted(database_broker.search(limit=300)) == sorted(held)
    assert database_broker.settle(good) == jobs.ids(good)


def test_culprits_stand_alone(database_broker):
    """settle_each stores all others of a batch and names those that the store refuses; they still run."""
    batch = [jobs.succeeded(database_broker, job) for job in jobs.claimed(database_broker, 20)]
    culprits = {batch[3].id, batch[4].id, batch[19].id}
    batch = [job._replace(result=SURROGATE) if job.id in culprits else job for job in batch]

    accepted, refused = database_broker.settle_each(batch)

    assert jobs.ids(job for job, _ in refused) == culprits
    assert accepted == jobs.ids(batch) - culprits
    assert jobs.ids(database_broker.held_by(["w1"], 30)) == culprits


def test_culprits_of_a_turn_stand_alone(database_broker):
    """settle_and_claim does the same, and claims all the same."""
    batch = [jobs.succeeded(database_broker, job) for job in jobs.claimed(database_broker, 20)]
    batch[7] = batch[7]._replace(result=SURROGATE)
    new = jobs.pushed(database_broker, 3)

    turn = database_broker.settle_and_claim(batch, "w1", None, 5)

    assert [job.id for job, _ in turn.refused] == [batch[7].id]
    assert turn.accepted == jobs.ids(batch) - {batch[7].id}
    assert [job.id for job in turn.claimed] == [job.id for job in new]


class Fussy(MemoryBroker):
    """Refuses a result of "bad" and counts how often it was asked."""

    asked = 0

    def settle(self, jobs):
        self.asked += 1
        if any(job.result == "bad" for job in jobs):
            raise BrokerRefused("bad")
        return super().settle(jobs)


def test_halving(memory_broker):
    """settle_each halves a refused batch: one culprit among 64 costs two questions for each halving."""
    broker = Fussy("default", memory_broker.clock)
    batch = [jobs.succeeded(broker, job) for job in jobs.claimed(broker, 64)]
    bad = batch[37] = batch[37]._replace(result="bad")

    accepted, [(culprit, error)] = broker.settle_each(batch)

    assert (culprit, str(error)) == (bad, "bad")
    assert accepted == jobs.ids(batch) - {bad.id}
    assert broker.asked == 13


def test_refused_job_can_be_failed(database_broker):
    """A job whose result was refused can still end, with an error that the store takes."""
    (job,) = jobs.claimed(database_broker)
    database_broker.settle_each([jobs.succeeded(database_broker, job, SURROGATE)])

    failed = machine.fail(job, machine.error_entry("builtins.ValueError", SURROGATE), started_at=1, at=2)

    assert database_broker.settle_each([failed]) == ({job.id}, [])
    assert database_broker.get(job.id).state == State.FAILED


@pytest.mark.parametrize(("priority", "due_at"), [(999, -5), (-999, 5), (2**31 - 1, 1), (-(2**31), -(2**63)), (0, -1)])
def test_a_deferred_row_with_impossible_numbers_falls_due_with_the_others(database_broker, priority, due_at):
    """It lines up somewhere, and keeps nobody else from lining up."""
    broker = database_broker
    odd = jobs.new(broker, run_after=broker.clock.moment() + 1)._replace(
        state=State.DEFERRED, rank=None, priority=priority, due_at=due_at
    )
    good = jobs.new(broker, run_after=broker.clock.moment() + 1_000_000)
    broker.push([odd, good])
    broker.clock.travel(2)
    broker.promote(10)

    assert jobs.states(broker, [odd, good]) == [State.READY, State.READY]
    assert jobs.ids(broker.claim("w1", None, 10)) == {odd.id, good.id}
