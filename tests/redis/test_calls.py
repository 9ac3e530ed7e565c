"""Wake-ups that were held back: whoever was called before may have looked while the next push was on its way."""

import contextlib
import threading
import time

import pytest

from mainspring.brokers.listening import BACKSTOP, LOOK_AGAIN_AFTER, Calls
from mainspring.brokers.sockets import is_readable
from tests.contract import jobs
from tests.contract.test_listening import hears, quiet


@pytest.mark.parametrize("pause", [0.004, 0.008, 0.012])
def test_a_large_push_after_a_small_one_is_heard(broker, pause):
    """It takes longer than the second look waits, so that the call must come when its jobs can be seen."""
    large = [jobs.new(broker, arguments="x" * 20_000) for _ in range(300)]
    claimed, is_over = [], threading.Event()

    def work():
        with contextlib.closing(broker.listen()) as listener:
            listening.set()
            while not is_over.is_set():
                is_readable(listener.fileno(), min(listener.interval, 0.1))
                if listener.has_news():
                    claimed.extend(broker.claim("w1", None, 500))

    listening = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    listening.wait()
    is_over.wait(2 * LOOK_AGAIN_AFTER)  # until it has looked as whoever has just begun to listen does
    jobs.pushed(broker)
    is_over.wait(pause)
    broker.push(large)
    heard = wait_for(lambda: len(claimed) == 301)
    is_over.set()
    worker.join()

    assert heard, f"{len(claimed)} of 301 were heard of"


def wait_for(condition):
    """Wait for less than a worker's next look by itself, and say whether it came true."""
    deadline = time.monotonic() + BACKSTOP - 1
    while time.monotonic() < deadline:
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


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
