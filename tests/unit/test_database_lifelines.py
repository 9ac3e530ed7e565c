"""The locked files by which the workers of a SQLite database show that they live, held by real processes."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import threading

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from mainspring.brokers.database import lifelines as module
from mainspring.brokers.database.lifelines import Lifelines
from mainspring.brokers.database.sqlite import SQLite
from mainspring.exceptions import BrokerUnavailable

WORKER = "web-1:4711:a/b"


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "db.sqlite3"
    path.touch(0o640)
    return path


@pytest.fixture
def lifelines(database):
    return Lifelines(str(database))


@pytest.fixture
def start(lifelines):
    """Start a process that holds a lifeline and does what it is told, then waits to be killed; return its id."""
    pids = []

    def start(do=lambda: None):
        near, far = os.pipe()
        pid = os.fork()
        if pid == 0:
            lifelines.hold(WORKER)
            do()
            os.write(far, b"!")
            while True:
                signal.pause()
        pids.append(pid)
        os.read(near, 1)
        os.close(near)
        os.close(far)
        return pid

    yield start
    for pid in pids:
        kill(pid)


def kill(pid):
    """Kill a child and wait for its end, if that has not been done yet."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def test_a_killed_worker_is_dead_at_once(lifelines, start):
    """The kernel frees what it held, however it ended."""
    pid = start()
    assert lifelines.is_held(WORKER) is True

    kill(pid)

    assert lifelines.is_held(WORKER) is False


def test_a_stopped_worker_lives(lifelines, start):
    """It may go on at any moment, in the middle of a job."""
    pid = start()

    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)

    assert lifelines.is_held(WORKER) is True


def test_a_fork_lives_on_for_its_parent(lifelines, start):
    """What has inherited the descriptor may still run the parent's code."""
    near, far = os.pipe()

    def fork():
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        os.write(far, b"%d" % pid)

    parent = start(do=fork)
    fork_id = int(os.read(near, 20))
    try:
        kill(parent)
        assert lifelines.is_held(WORKER) is True
    finally:
        os.kill(fork_id, signal.SIGKILL)
    os.close(far)
    assert os.read(near, 1) == b""  # the fork, the last to hold the other end, has ended
    os.close(near)

    assert lifelines.is_held(WORKER) is False


def test_a_program_that_the_worker_runs_tells_nothing(lifelines, start):
    """A descriptor ends with `exec`, so that no stray subprocess keeps its worker alive for others."""
    near, far = os.pipe()
    pid = start(do=lambda: os.write(far, b"%d" % subprocess.Popen(["sleep", "60"], close_fds=False).pid))
    program = int(os.read(near, 20))

    kill(pid)

    try:
        assert lifelines.is_held(WORKER) is False
    finally:
        os.kill(program, signal.SIGKILL)
    os.close(near)
    os.close(far)


def test_whoever_looks_is_not_taken_for_the_worker(lifelines):
    """Any number of processes may look at the same time."""
    os.close(lifelines.hold(WORKER))
    with lifelines._path(WORKER).open() as another:
        fcntl.flock(another, fcntl.LOCK_SH)

        assert lifelines.is_held(WORKER) is False


def test_whoever_looks_keeps_nobody_from_living(lifelines):
    """To take hold is tried again while somebody looks."""
    os.close(lifelines.hold(WORKER))
    another = lifelines._path(WORKER).open()
    fcntl.flock(another, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, another.close)
    timer.start()

    file = lifelines.hold(WORKER)

    assert lifelines.is_held(WORKER) is True
    timer.join()
    os.close(file)


def test_two_workers_of_one_id(lifelines, monkeypatch):
    """The second is refused, or nobody would notice the death of either."""
    monkeypatch.setattr(module, "TRIES", 3)
    file = lifelines.hold(WORKER)

    with pytest.raises(BrokerUnavailable, match="another process is the worker"):
        lifelines.hold(WORKER)
    os.close(file)


def test_about_to_begin(lifelines):
    """A worker that has its file but not yet the lock is not dead."""
    os.close(lifelines.hold("another"))
    lifelines._path(WORKER).touch()

    assert lifelines.is_held(WORKER) is None


def test_deleted_as_stale_while_it_begins(lifelines, monkeypatch):
    """A worker whose new file somebody tidied away before it was locked takes another."""
    can_lock = module._can_lock

    def tidied_away(file, kind):
        monkeypatch.setattr(module, "_can_lock", can_lock)
        lifelines.remove([], known=[])
        return can_lock(file, kind)

    monkeypatch.setattr(module, "_can_lock", tidied_away)
    file = lifelines.hold(WORKER)

    assert lifelines.is_held(WORKER) is True
    os.close(file)


def test_only_its_own_files_are_deleted(lifelines):
    """Whatever else lies in the folder is none of ours."""
    os.close(lifelines.hold(WORKER))
    other = lifelines._path(WORKER).parent / "notes.txt"
    other.touch()

    lifelines.remove([], known=[])

    assert list(other.parent.iterdir()) == [other]


@pytest.mark.parametrize("alike", ["web-1:4711:a.b", "WEB-1:4711:A/B", "../../web-1", "é" * 64, "\ud83d", "."])
def test_ids_that_are_no_names_of_files(lifelines, alike):
    """Each worker has a file of its own inside the folder, whatever its id is."""
    file = lifelines.hold(alike)

    assert lifelines.is_held(alike) is True
    assert lifelines.is_held(WORKER) is None
    assert lifelines._path(alike).resolve().parent == lifelines._folder.resolve()
    os.close(file)


def test_shared_like_the_database(lifelines, database):
    """Whoever may use the database can look, and nobody else."""
    os.close(lifelines.hold(WORKER))

    path = lifelines._path(WORKER)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o750, 0o640]
    assert {(each.stat().st_uid, each.stat().st_gid) for each in (path.parent, path, database)} == {
        (database.stat().st_uid, database.stat().st_gid)
    }


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(lifelines, monkeypatch, caplog, code):
    """The beat decides there, which is said once."""

    def refuse(file, kind):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(module, "_complained", set())

    assert [lifelines.hold(WORKER), lifelines.hold("another"), lifelines.is_held(WORKER)] == [None, None, None]
    lifelines.remove([WORKER], known=[])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_no_place_for_a_folder(tmp_path, monkeypatch, caplog):
    """Where the folder cannot be made, the beat decides too."""
    monkeypatch.setattr(module, "_complained", set())
    (tmp_path / "db.sqlite3-workers").touch()
    lifelines = Lifelines(str(tmp_path / "db.sqlite3"))

    assert (lifelines.hold(WORKER), lifelines.is_held(WORKER)) == (None, None)
    lifelines.remove([WORKER], known=[])
    assert len(caplog.records) == 1


@pytest.fixture
def of(django_db_blocker):
    """Return the lifelines of a SQLite database by its NAME."""

    def of(name):
        connection = DatabaseWrapper({**connections["default"].settings_dict, "NAME": name, "OPTIONS": {}}, "sqlite")
        with django_db_blocker.unblock():
            found = SQLite().lifelines(connection)
        connection.connection.close()
        return found

    return of


@pytest.mark.parametrize("name", [":memory:", "file:shared?mode=memory&cache=shared"])
def test_a_database_in_memory(of, name):
    """No other process can see it, so there is nobody to show anything to."""
    assert of(name) is None


def test_beside_the_file_whatever_leads_there(of, database, tmp_path, monkeypatch):
    """Processes that reach one database by different paths find the same files."""
    (tmp_path / "link.sqlite3").symlink_to(database)
    monkeypatch.chdir(tmp_path)

    found = {of(name)._folder for name in (database, "db.sqlite3", tmp_path / "link.sqlite3", f"file:{database}")}

    assert found == {tmp_path.resolve() / "db.sqlite3-workers"}
