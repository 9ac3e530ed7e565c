"""What a process knows of the jobs that it holds, also when it was not told that it has them."""

import pytest

from mainspring import job as machine
from mainspring.brokers.memory import MemoryBroker
from mainspring.exceptions import BrokerUnavailable
from mainspring.worker.held import LOOK_AFTER, Held
from tests.contract import jobs
from tests.contract.clocks import FrozenClock


class Mute(MemoryBroker):
    """Takes jobs for a worker and loses the reply, if told to."""

    is_mute = False

    def claim(self, *arguments, **options):
        found = super().claim(*arguments, **options)
        if self.is_mute:
            raise BrokerUnavailable("the line is dead")
        return found


@pytest.fixture
def broker():
    return Mute("default", FrozenClock())


@pytest.fixture
def held(broker):
    return Held(broker, "w1")


def claim(held, limit=10):
    return held.claim(None, limit, (), alone=False)


def claim_in_vain(broker, held):
    broker.is_mute = True
    with pytest.raises(BrokerUnavailable):
        claim(held)
    broker.is_mute = False


def test_what_a_lost_reply_named_is_found_once(broker, held):
    """And nothing that is known already, nor what another worker holds."""
    jobs.pushed(broker, 3)
    known, others = claim(held, 1), broker.claim("w2", None, 1)
    jobs.pushed(broker)
    claim_in_vain(broker, held)

    found = held.find()
    assert jobs.ids(found).isdisjoint(jobs.ids([*known, *others]))
    assert len(found) == 2
    broker.clock.travel(LOOK_AFTER[-1])
    assert held.find() == []


def test_nothing_is_looked_for_without_an_error(broker, held):
    """To look takes a statement."""
    jobs.pushed(broker, 1)
    claim(held)

    assert held.look_at is None


def test_a_server_that_was_still_at_work_is_asked_again(broker, held):
    """It may take the jobs after the connection is gone."""
    claim_in_vain(broker, held)
    assert held.find() == []
    [late] = jobs.pushed(broker, 1)
    broker.claim("w1", None, 1)

    assert held.find() == [], "it is not time yet"
    broker.clock.travel(LOOK_AFTER[1])
    assert jobs.ids(held.find()) == {late.id}
    broker.clock.travel(LOOK_AFTER[2])
    assert held.find() == []
    assert held.look_at is None


def test_a_second_claim_of_a_job_outlives_the_end_of_the_first(broker, held):
    """The job was taken away while it ran, and came back."""
    jobs.pushed(broker, 1)
    [first] = claim(held)
    broker.rescue(["w1"], max_crashes=3, started=[])
    [second] = claim(held)
    held.settled([machine.release(first)])
    claim_in_vain(broker, held)

    assert held.find() == []
    held.settled([machine.release(second)])
    claim_in_vain(broker, held)
    assert jobs.ids(held.find()) == {first.id}
