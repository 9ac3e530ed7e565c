"""Locks between real processes, which are killed, suspended and forked."""

import os
import signal
import subprocess
import sys
import time

import pytest

import mainspring
from mainspring.brokers.leases import LEASE_TIME
from mainspring.clock import SECOND
from mainspring.exceptions import LockNotAcquired
from tests.processes.conftest import SOON
from tests.wall_clock import ENVIRONMENT

LEASE = LEASE_TIME / SECOND
SLACK = 10.0  # seconds, for a machine that has other things to do


@pytest.fixture
def start(transactional_db):
    """Start a process of tests/processes/locks.py: `start("hold", "a")`."""
    processes = []

    def start(*words, **environment):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.processes.locks", *map(str, words)],
                env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def acquire(timeout):
    return mainspring.lock("a", timeout=timeout).acquire()


def test_a_lock_is_held_as_long_as_its_holder_lives_and_free_a_lease_later(start):
    holder = start("hold", "a")
    token = int(holder.stdout.readline())
    with pytest.raises(LockNotAcquired):
        acquire(LEASE + 2)
    holder.send_signal(signal.SIGKILL)
    began = time.monotonic()
    held = acquire(LEASE + SLACK)

    assert time.monotonic() - began < LEASE + SLACK
    assert held.token > token
    held.release()


def test_a_holder_who_was_suspended_finds_out_and_takes_it_from_nobody(start):
    holder = start("hold", "a")
    token = int(holder.stdout.readline())
    holder.send_signal(signal.SIGSTOP)
    held = acquire(LEASE + SLACK)
    holder.send_signal(signal.SIGCONT)
    said, _ = holder.communicate(timeout=SOON)

    assert said.split() == ["True"]
    assert held.token > token
    with pytest.raises(LockNotAcquired):
        acquire(0)
    held.release()


def test_processes_that_count_together_lose_nothing(start, tmp_path):
    """Each token is greater than all before, although the clock of one process is an hour off."""
    file, shift = tmp_path / "number", tmp_path / "shift"
    file.write_text("0 0")
    shift.write_text("3600")
    processes = [start("count", "a", file, 25) for _ in range(3)]
    processes.append(start("count", "a", file, 25, **{ENVIRONMENT: str(shift)}))

    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert file.read_text().split()[0] == "100"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_holds_nothing_of_its_parent_s(start):
    """It renews nothing and releases nothing."""
    process = start("fork", "a")
    said, _ = process.communicate(timeout=SOON)

    assert said.splitlines() == ["True 0", "False"]
    acquire(0).release()
