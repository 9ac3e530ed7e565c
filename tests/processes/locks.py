"""Processes that use locks: `python -m tests.processes.locks VERB NAME ...`."""

import os
import sys
import threading
from pathlib import Path

import django

django.setup()

import mainspring  # noqa: E402 - a task backend looks at the apps
from mainspring.exceptions import LockNotAcquired  # noqa: E402


def hold(name):
    """Hold a lock until stdin is closed; write the token, and then whether it is lost."""
    with mainspring.lock(name) as held:
        say(held.token)
        sys.stdin.read()
        say(held.is_lost)


def count(name, file, times):
    """Add one to the number in a file, as often as that is asked for."""
    for _ in range(int(times)):
        with mainspring.lock(name) as held:
            number, last = map(int, Path(file).read_text().split())
            assert held.token > last
            Path(file).write_text(f"{number + 1} {held.token}")


def fork(name):
    """Leave the block in a fork; write what that has found, and then whether the parent still holds the lock."""
    with mainspring.lock(name) as held:
        pid = os.fork()
        if not pid:
            renewing = [thread for thread in threading.enumerate() if thread.name == "mainspring-locks"]
            say(held.is_lost, len(renewing))
            held.release()
            os._exit(0)
        os.waitpid(pid, 0)
        try:
            mainspring.lock(name, timeout=0).acquire()
        except LockNotAcquired:
            say(held.is_lost)


def say(*words):
    print(*words, flush=True)


if __name__ == "__main__":
    {"hold": hold, "count": count, "fork": fork}[sys.argv[1]](*sys.argv[2:])
