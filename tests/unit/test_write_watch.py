"""WriteWatch: the kernel tells of the first write to a file, and of no other until it is asked again."""

import sys

import pytest

from mainspring.brokers.database.write_watch import WriteWatch
from mainspring.brokers.sockets import is_readable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def watch():
    watch = WriteWatch()
    yield watch
    watch.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"")
    return path


def write(path):
    with path.open("ab") as file:
        file.write(b"!")


def test_tells_of_a_write(watch, file):
    """Whoever waits on it wakes up, and to take that in makes it silent again."""
    watch.arm([str(file)])
    assert not is_readable(watch.fileno())
    assert not watch.take_in()

    write(file)

    assert is_readable(watch.fileno(), 5)
    assert watch.take_in()
    assert not is_readable(watch.fileno())


def test_tells_of_one_write_only(watch, file):
    """A database that others write to all the time costs nothing between two looks."""
    watch.arm([str(file)])
    write(file)
    watch.take_in()

    write(file)
    assert not is_readable(watch.fileno(), 0.1)

    watch.arm([str(file)])
    write(file)
    assert is_readable(watch.fileno(), 5)


def test_a_file_that_is_not_there(watch, file, tmp_path):
    """The log of a database may be missing; the others are watched all the same."""
    watch.arm([str(tmp_path / "missing"), str(file)])

    write(file)

    assert is_readable(watch.fileno(), 5)


def test_a_look_is_no_write(watch, file):
    """To read the file tells nobody."""
    watch.arm([str(file)])

    file.read_bytes()

    assert not is_readable(watch.fileno(), 0.1)


def test_closing_twice(watch):
    """It is harmless."""
    watch.close()
    watch.close()


def test_a_kernel_that_cannot_tell(monkeypatch):
    """It is an error that names it, and the caller asks SQLite instead."""
    monkeypatch.setattr("ctypes.CDLL", lambda *args, **kwargs: object())

    with pytest.raises(OSError, match="inotify"):
        WriteWatch()
