"""Questions on their way through a supervisor."""

from mainspring.brokers.base import Question
from mainspring.brokers.memory import MemoryBroker
from mainspring.exceptions import BrokerRefused
from mainspring.worker.questions import Questions


class Refusing(MemoryBroker):
    def answer(self, id, text):
        raise BrokerRefused("a NUL")


def test_an_answer_that_the_store_refuses_stops_no_worker(caplog):
    """A stack may hold any text, and whoever has asked gives up by themselves."""
    Questions(Refusing("default"), children=None).ask(Question("q", "w", "weather", ""))

    assert "could not be stored: a NUL" in caplog.text
