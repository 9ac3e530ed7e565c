"""The memory that tells what a dead process was running."""

import os

from mainspring.job import new_id
from mainspring.worker.blame import Blame


def test_another_process_reads_what_was_running():
    """The map outlives whoever wrote it."""
    blame = Blame.create(slots=3)
    first, second = new_id(), new_id()
    child = os.fork()
    if child == 0:
        mine = Blame(blame.fd, slots=3)
        mine.start(0, first)
        mine.start(2, second)
        mine.end(0)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)

    assert blame.started() == {second}
    blame.close()


def test_a_slot_is_used_again():
    """The last job that started in a slot is the one that runs there."""
    blame = Blame.create(slots=1)
    for job_id in ("a" * 36, "b" * 36):
        blame.start(0, job_id)

    assert blame.started() == {"b" * 36}
    blame.close()
