"""Threads that begin at the same moment, each with its own connection to the store."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor


def together(broker, *functions):
    """Call all functions at once, each in a thread, and return their results in order."""
    start = threading.Barrier(len(functions))

    def run(function):
        try:
            start.wait()
            return function()
        finally:
            broker.close()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


def until(condition):
    """Go round until the condition holds; what never comes true fails the test instead of blocking it."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute in vain"
        yield


def elsewhere(broker, function):
    """Call a function as another process would, outside this thread's transaction, and return its result."""
    return together(broker, function)[0]
