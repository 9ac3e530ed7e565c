"""Questions that somebody asks of a worker through the store, and the way of their answers back."""

import logging
import time
from dataclasses import dataclass

from mainspring.brokers.base import Broker, Question
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.worker.child_process import ChildProcess, stack_of_thread
from mainspring.worker.children import Children

logger = logging.getLogger("mainspring.worker")

STACK = "stack"
PATIENCE = 1.0  # seconds for a child to answer by itself


@dataclass(frozen=True, slots=True)
class Pending:
    """A question that a child has been asked, and when to answer in its place."""

    question: Question
    child: ChildProcess
    until: float


class Questions:
    """Passes questions on to the child that can answer, and answers for a child whose interpreter is held."""

    def __init__(self, broker: Broker, children: Children) -> None:
        self._broker = broker
        self._children = children
        self._pending: dict[str, Pending] = {}

    def ask(self, question: Question) -> None:
        """Begin to answer a question; one that has been begun is left to its way."""
        if question.id in self._pending:
            return
        if question.kind != STACK:
            self._answer(question.id, f"This worker knows no question of the kind {question.kind!r}.")
            return
        child = self._children.running(question.body)
        if child is None:
            self._answer(question.id, "The job does not run in this worker, or no longer.")
            return
        self._pending[question.id] = Pending(question, child, time.monotonic() + PATIENCE)
        child.channel.send(stack=question.body, question=question.id)

    def answer(self, id: str, text: str | None) -> None:
        """Take the answer of a child."""
        if self._pending.pop(id, None) is not None:
            self._answer(id, text or "The job does not run in this worker, or no longer.")

    def pauses(self) -> list[float]:
        return [pending.until - time.monotonic() for pending in self._pending.values()]

    def tick(self) -> None:
        """Answer what has waited too long for a child."""
        now = time.monotonic()
        for id in [id for id, pending in self._pending.items() if pending.until <= now]:
            self._answer_for(self._pending.pop(id))

    def _answer_for(self, pending: Pending) -> None:
        running = None if pending.child.has_ended() else pending.child.runs(pending.question.body)
        if running is None:
            self._answer(pending.question.id, "The job does not run in this worker, or no longer.")
            return
        stack = stack_of_thread(pending.child.dump_stacks(), running)
        self._answer(
            pending.question.id,
            f"The process does not answer: its interpreter is held. Innermost call first:\n{stack}",
        )

    def _answer(self, id: str, text: str) -> None:
        try:
            self._broker.answer(id, text)
        except (BrokerUnavailable, BrokerRefused) as error:
            logger.warning("The answer to a question could not be stored: %s", error)
