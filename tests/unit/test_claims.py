"""Jobs that a claim has taken although its reply was lost."""

import pytest

from mainspring.brokers.memory import MemoryBroker
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import State, new_job
from mainspring.worker.claims import LOOK_AFTER, Claims


class Line(MemoryBroker):
    """A broker to which the line can be cut just before, or just after, it has done what was asked."""

    cut = None
    late = None

    def claim(self, *args, **kwargs):
        if self.cut == "before":
            raise BrokerUnavailable("cut")
        if self.cut == "much later":
            self.late = lambda: super(Line, self).claim(*args, **kwargs)
            raise BrokerUnavailable("cut")
        jobs = super().claim(*args, **kwargs)
        if self.cut == "after":
            raise BrokerUnavailable("cut")
        return jobs


@pytest.fixture
def line():
    line = Line("memory")
    at = line.clock.moment()
    line.push([new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=at) for _ in range(3)])
    return line


def claim(claims):
    return claims.claim([], None, 2, (), alone=False).claimed


def states(line):
    return sorted(job.state for job in line.search())


def test_jobs_of_a_lost_reply_are_given_back(line):
    """Uncounted: nothing of them has begun."""
    claims = Claims(line, "w1")
    [kept, _] = claim(claims)
    line.cut = "after"
    with pytest.raises(BrokerUnavailable):
        claim(claims)
    assert states(line) == [State.RUNNING] * 3
    claims.give_back()

    assert states(line) == [State.READY, State.RUNNING, State.RUNNING]
    assert line.get(kept.id).state == State.RUNNING
    assert [job.interruptions + job.crashes + job.attempts for job in line.search()] == [0, 0, 0]


def test_a_claim_that_the_server_ends_much_later_is_found_too(line):
    """It did not know that its client had gone."""
    claims = Claims(line, "w1")
    line.cut = "much later"
    with pytest.raises(BrokerUnavailable):
        claim(claims)
    claims.give_back()
    line.late()
    assert states(line) == [State.READY, State.RUNNING, State.RUNNING]
    line.clock.travel(LOOK_AFTER[-1])
    claims.give_back()

    assert states(line) == [State.READY] * 3
    assert claims.look_at is None


def test_without_an_error_nothing_is_looked_for(line, monkeypatch):
    """It costs a working store nothing."""
    claims = Claims(line, "w1")
    claim(claims)
    monkeypatch.setattr(line, "held_by", None)
    claims.give_back()

    assert claims.look_at is None
