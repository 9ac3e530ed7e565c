"""Seeing at once whether a worker of this machine lives, by a lock that the kernel frees."""

import os
import signal

import pytest

from mainspring.worker import lifelines
from mainspring.worker.lifelines import Lifelines


@pytest.fixture
def lines(tmp_path):
    return Lifelines(tmp_path / "workers")


@pytest.fixture
def worker(lines):
    """A process that holds the lifeline of the worker "w:1" alone."""
    memory = lines.create("w:1", slots=2)
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        memory.start(1, "some-job")
        os.write(tell, b"!")
        while True:
            signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    memory.close()
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_living_worker_holds_its_lifeline(lines, worker):
    """Also while it is stopped: it may go on at any time."""
    assert lines.is_held("w:1") is True
    os.kill(worker, signal.SIGSTOP)
    assert lines.is_held("w:1") is True


def test_a_killed_worker_is_seen_at_once_with_what_it_ran(lines, worker):
    """The lock has gone with the process, the memory has not."""
    end(worker)

    assert lines.is_held("w:1") is False
    assert lines.started("w:1") == {"some-job"}


def test_a_dead_worker_that_had_been_told_to_stop_is_known(lines):
    """Its last beat may not have said so."""
    memory = lines.create("w:1", slots=2)
    assert not lines.was_stopping("w:1")
    memory.note_stop()
    memory.start(0, "some-job")
    memory.close()

    assert lines.was_stopping("w:1")
    assert lines.started("w:1") == {"some-job"}


def test_two_who_look_do_not_take_each_other_for_the_worker(lines, worker):
    """A look is shared."""
    import fcntl

    end(worker)
    other = os.open(lines._path("w:1"), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_SH)

    assert lines.is_held("w:1") is False
    os.close(other)


def test_a_file_of_another_machine_says_nothing(lines, worker, monkeypatch):
    """On a shared disk its lock may not be visible here."""
    end(worker)
    monkeypatch.setattr(lifelines, "machine", lambda: b"elsewhere")

    assert lines.is_held("w:1") is None
    assert lines.started("w:1") is None


def test_without_a_file_nobody_can_tell(lines, worker):
    """Before the first worker, and after the last look."""
    end(worker)
    lines.remove("w:1")

    assert lines.is_held("w:1") is None
    assert lines.started("w:1") is None


def test_memory_is_there_even_where_no_file_can_be_kept(tmp_path, caplog):
    """The worker goes by the beat alone, and says so."""
    (tmp_path / "workers").write_text("not a folder")
    lines = Lifelines(tmp_path / "workers")
    memory = lines.create("w:1", slots=1)
    memory.start(0, "some-job")

    assert memory.started() == {"some-job"}
    assert lines.is_held("w:1") is None
    assert "beat alone" in caplog.text
    memory.close()


def test_nothing_is_left_of_a_file_that_cannot_be_locked(lines, monkeypatch):
    """Neither the file nor its number; some network disks know no locks."""

    def refuse(fd, operation):
        raise OSError("no locks available")

    monkeypatch.setattr(lifelines.fcntl, "flock", refuse)
    lines.create("w:0", slots=1).close()
    before = len(os.listdir("/dev/fd"))
    lines.create("w:1", slots=1).close()

    assert len(os.listdir("/dev/fd")) == before
    assert list(lines._folder.iterdir()) == []


def test_a_file_of_another_version_says_nothing_of_what_ran(lines, worker):
    """Its records may have another size."""
    end(worker)
    with lines._path("w:1").open("ab") as file:
        file.write(b"more")

    assert lines.started("w:1") is None


def test_what_nobody_rescued_is_cleaned_up_after_a_day(lines, worker):
    """Neither what is held nor what is young goes."""
    lines.create("young", slots=1).close()
    lines.create("old", slots=1).close()
    for name in ("old", "w:1"):
        os.utime(lines._path(name), (0, 0))
    lines.clean()

    assert sorted(path.name for path in lines._folder.iterdir()) == ["w:1", "young"]


def test_without_room_for_its_file_a_worker_has_its_memory_elsewhere(lines, monkeypatch, caplog):
    """It is said, nothing is left of the file, and what the worker runs can still be read."""
    monkeypatch.setattr("mainspring.worker.shared_memory.os.pwrite", OneByteTooFew(os.pwrite))
    memory = lines.create("w:1", slots=2)
    memory.start(1, "some-job")

    assert memory.started() == {"some-job"}
    assert lines.is_held("w:1") is None
    assert "No space left on device" in caplog.text
    memory.close()


class OneByteTooFew:
    """Writes as a disk does that becomes full, the first time."""

    def __init__(self, pwrite):
        self._pwrite = pwrite
        self._is_full = True

    def __call__(self, fd, data, offset):
        less, self._is_full = int(self._is_full), False
        return self._pwrite(fd, data[: len(data) - less], offset)
