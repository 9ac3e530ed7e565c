"""ask, questions, answer and answer_to: what somebody wants to know of a worker, and what it says."""

import pytest

from mainspring.brokers.base import Question, WorkerInfo
from mainspring.exceptions import BrokerRefused
from tests.contract.test_hostile import raw_texts
from tests.contract.threads import elsewhere, together

HOUR = 3600


def test_reaches_the_worker(broker):
    """A question comes to its worker with the next beat, and can be asked for; the answer comes back."""
    id = elsewhere(broker, lambda: broker.ask("w1", "stack", "job-1"))
    question = Question(id, "w1", "stack", "job-1")

    assert broker.beat([WorkerInfo("w1")]).questions == [question]
    assert broker.questions(["w1"]) == [question]
    assert broker.answer_to(id) is None
    broker.answer(id, "Current thread")
    assert elsewhere(broker, lambda: broker.answer_to(id)) == "Current thread"


def test_answered_once(broker):
    """A question that has its answer, be it an empty one, comes no more; the last answer counts."""
    first, second = (broker.ask("w1", "stack", body) for body in ("a", "b"))
    broker.answer(first, "")

    assert [question.id for question in broker.questions(["w1"])] == [second]
    assert [question.id for question in broker.beat([WorkerInfo("w1")]).questions] == [second]
    assert broker.answer_to(first) == ""
    broker.answer(first, "on second thoughts")
    assert broker.answer_to(first) == "on second thoughts"


def test_oldest_first(broker):
    """Questions come in the order in which they were asked."""
    asked = []
    for _ in range(5):
        broker.clock.tick()
        asked.append(broker.ask("w1", "stack", "job"))

    assert [question.id for question in broker.questions(["w1"])] == asked
    assert [question.id for question in broker.beat([WorkerInfo("w1")]).questions] == asked


def test_only_to_these_workers(broker):
    """Each beat brings the questions to its own workers, and to nobody else."""
    for worker_id in ("w1", "w2", "w3", "W1"):
        broker.ask(worker_id, "stack", worker_id)

    beat = broker.beat([WorkerInfo("w1"), WorkerInfo("w3"), WorkerInfo("w4")])

    assert {question.body for question in beat.questions} == {"w1", "w3"}
    assert {question.body for question in broker.questions(["w2", "w4"])} == {"w2"}
    assert broker.questions([]) == broker.beat([]).questions == []


def test_unknown_questions(broker):
    """To answer what nobody asked does nothing, and there is no answer to it."""
    broker.answer("unheard of", "text")

    assert broker.answer_to("unheard of") is None
    assert broker.questions(["w1"]) == []


def test_old_questions(broker):
    """What was asked more than an hour ago goes with the next question, answered or not; the clock decides."""
    answered, unanswered = (broker.ask("w1", "stack", body) for body in ("a", "b"))
    broker.answer(answered, "text")
    broker.clock.travel(HOUR)
    young = broker.ask("w2", "stack", "c")
    assert (broker.answer_to(answered), len(broker.questions(["w1"]))) == ("text", 1)

    broker.clock.tick()
    last = broker.ask("w2", "stack", "d")

    assert broker.answer_to(answered) is None
    assert [question.id for question in broker.questions(["w1", "w2"])] == [young, last]
    broker.answer(unanswered, "too late")
    assert broker.answer_to(unanswered) is None


def test_asked_by_many(broker):
    """Everybody's question arrives, and everybody gets the answer to his own."""

    def ask(name):
        ids = [broker.ask("w1", "echo", f"{name}{n}") for n in range(10)]
        for question in broker.questions(["w1"]):
            broker.answer(question.id, question.body)
        return [broker.answer_to(id) for id in ids]

    answers = together(broker, *[lambda name=name: ask(name) for name in ("a", "b", "c")])

    assert answers == [[f"{name}{n}" for n in range(10)] for name in ("a", "b", "c")]


@pytest.mark.parametrize("text", ["", "two\nlines", "Ünïcödé 🚀", "100% %s '\"\\", " blanks ", "x" * 200_000])
def test_any_text(broker, text):
    """Questions and answers come back letter by letter."""
    id = broker.ask("w1", "stack", text)

    assert broker.beat([WorkerInfo("w1")]).questions == broker.questions(["w1"]) == [Question(id, "w1", "stack", text)]
    broker.answer(id, text)
    assert broker.answer_to(id) == text


@raw_texts
@pytest.mark.parametrize("field", ["kind", "body"])
def test_raw_text_asked(broker, field, text):
    """What the store cannot hold is refused; what it can comes back as it was."""
    question = {"worker_id": "w1", "kind": "stack", "body": "job", field: text}

    try:
        id = broker.ask(**question)
    except BrokerRefused:
        assert broker.questions(["w1"]) == []
    else:
        assert broker.questions(["w1"]) == [Question(id, **question)]


@raw_texts
def test_raw_text_answered(broker, text):
    """An answer that the store cannot hold is refused, and the question stays."""
    id = broker.ask("w1", "stack", "job")

    try:
        broker.answer(id, text)
    except BrokerRefused:
        assert len(broker.questions(["w1"])) == 1
    else:
        assert broker.answer_to(id) == text


@raw_texts
def test_raw_text_in_an_id(broker, text):
    """An id that cannot be stored belongs to nobody, or is refused; no error of a driver comes through."""
    for verb in (lambda: broker.answer(text, "x"), lambda: broker.answer_to(text), lambda: broker.questions([text])):
        try:
            assert not verb()
        except BrokerRefused:
            continue


@pytest.mark.parametrize("length", [10_000, 40_000_000])
def test_long_texts(broker, length):
    """What is too long for the store is refused, never cut, and never called an outage."""
    text = "x" * length
    id = broker.ask("w1", "stack", "job")

    for ask in (lambda: broker.ask("w1", "stack", text), lambda: broker.ask("w1", text[:10_000], "job")):
        try:
            ask()
        except BrokerRefused:
            continue
    try:
        broker.answer(id, text)
    except BrokerRefused:
        assert broker.answer_to(id) is None
    else:
        assert broker.answer_to(id) == text

    assert {len(question.body) for question in broker.questions(["w1"])} <= {3, length}
    assert {len(question.kind) for question in broker.questions(["w1"])} <= {5, 10_000}
