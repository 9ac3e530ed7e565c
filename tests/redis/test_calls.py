"""Wake-ups that were held back: whoever was called before may have looked while the next push was on its way."""

import contextlib
import time

import pytest

from mainspring.brokers.listening import Calls
from tests.contract import jobs
from tests.contract.test_listening import hears, quiet


@pytest.mark.parametrize("pause", [0.004, 0.008, 0.012])
def test_a_large_push_after_a_small_one_is_heard(broker, pause):
    """It takes longer than the second look waits."""
    for _ in range(3):
        with contextlib.closing(broker.listen()) as listener:
            quiet(listener)
            large = [jobs.new(broker, arguments="x" * 20_000) for _ in range(300)]
            jobs.pushed(broker)
            time.sleep(pause)
            broker.push(large)
            seen = len(broker.claim("w1", None, 500))
            if seen < 301:
                hears(listener)
            broker.search()


def test_a_refused_outcome_uses_no_call_up(broker):
    """The push behind it is heard at once."""
    (job,) = jobs.claimed(broker)
    broker.settle([jobs.succeeded(broker, job)])
    with contextlib.closing(broker.listen()) as listener:
        quiet(listener)
        broker.settle([jobs.retried(broker, job)])
        jobs.pushed(broker)

        hears(listener)


def test_a_block_that_fails_has_not_called():
    calls = Calls()
    with pytest.raises(KeyError), calls.made_if(True) as is_due:
        assert is_due
        raise KeyError

    with calls.made_if(True) as is_due:
        assert is_due
    with calls.made_if(True) as is_due:
        assert not is_due
    with calls.made_if(False) as is_due:
        assert not is_due
