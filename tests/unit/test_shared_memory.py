"""The memory that tells what a dead process was running."""

import os

import pytest

from mainspring.job import new_id
from mainspring.worker.shared_memory import Running, SharedMemory


@pytest.fixture
def memory(tmp_path):
    fd = os.open(tmp_path / "memory", os.O_RDWR | os.O_CREAT)
    memory = SharedMemory.create(fd, slots=3, machine=b"here")
    yield memory
    memory.close()


def test_another_process_reads_what_was_running(memory):
    """The map outlives whoever wrote it."""
    first, second = new_id(), new_id()
    child = os.fork()
    if child == 0:
        mine = SharedMemory(memory.fd)
        mine.start(0, first)
        mine.start(2, second, 12.5, 7)
        mine.end(0)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)

    assert memory.running() == [Running(second, 12.5, 7)]
    assert SharedMemory.started_in(memory.fd) == memory.started() == {second}


def test_a_slot_is_used_again(memory):
    """The last job that started in a slot is the one that runs there."""
    assert not memory.is_busy()
    for job_id in ("a" * 36, "b" * 36):
        memory.start(2, job_id)

    assert memory.is_busy()
    assert memory.started() == {"b" * 36}


def test_trust_is_passed_on_and_nothing_else_changes(memory):
    """The supervisor writes until when, and the store's time; the child reads it; the machine stays."""
    memory.trust_until(1234.5, -17)

    assert (memory.trusted_until(), memory.clock_offset()) == (1234.5, -17)
    assert SharedMemory.machine_of(memory.fd) == b"here"


def test_memory_that_is_closed_again_closes_nobody_elses_file(memory, tmp_path):
    """A fork closes it, and so does a fork of that, where the number may be another file's by then."""
    fd = memory.fd
    memory.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other == fd
    memory.close()

    os.write(other, b"open")
    os.close(other)
