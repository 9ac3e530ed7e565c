"""Lifelines: files by which the processes of one machine see at once whether a worker lives, and what it ran."""

import fcntl
import logging
import os
import re
import struct
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from mainspring.worker.scratch import scratch_file
from mainspring.worker.shared_memory import LAYOUT, SharedMemory

T = TypeVar("T")

logger = logging.getLogger("mainspring.worker")

LEFT_FOR = 86_400.0  # seconds after which a file that nobody holds is of no use to anybody


class Lifelines:
    """
    Keeps a file for each worker: the memory that it shares with its supervisor, locked for as long as either lives.

    The kernel frees the lock however they end, so no clock and no beat is asked. Files of another machine, on a disk
    that two share, say nothing. Where no file can be kept, workers go by the beat alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Keep them in a folder that all who can write beside it may use; None is one of this user's alone."""
        self._is_shared = folder is not None
        self._folder = folder or Path(tempfile.gettempdir(), f"mainspring-{os.getuid()}")

    def create(self, worker_id: str, slots: int) -> SharedMemory:
        """Return new memory for a worker; its `fd` holds the lifeline wherever it is open."""
        try:
            self._make_folder()
            return self._create_file(worker_id, slots)
        except OSError as error:
            logger.warning("Without a lifeline in %s workers are watched by their beat alone: %s", self._folder, error)
        with scratch_file() as file:
            return SharedMemory.create(os.dup(file.fileno()), slots, machine())

    def _create_file(self, worker_id: str, slots: int) -> SharedMemory:
        fd = os.open(self._path(worker_id), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._share(fd)
            return SharedMemory.create(fd, slots, machine())
        except OSError:
            os.close(fd)
            self.remove(worker_id)
            raise

    def is_held(self, worker_id: str) -> bool | None:
        """Does the worker live? None: nobody here can tell."""
        try:
            fd = os.open(self._path(worker_id), os.O_RDONLY)
        except OSError:
            return None
        try:
            if SharedMemory.machine_of(fd) != machine():
                return None
            # Shared, so that two who look at the same time do not take each other for the worker.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(fd)
        return False

    def started(self, worker_id: str) -> frozenset[str] | None:
        """Return the ids of the jobs that a dead worker was running, None if nobody here can tell."""
        return self._read(worker_id, SharedMemory.started_in)

    def was_stopping(self, worker_id: str) -> bool:
        """Is it known here that a dead worker had been told to stop?"""
        return bool(self._read(worker_id, SharedMemory.was_stopping_in))

    def _read(self, worker_id: str, reader: Callable[[int], T]) -> T | None:
        try:
            fd = os.open(self._path(worker_id), os.O_RDONLY)
        except OSError:
            return None
        try:
            return reader(fd) if SharedMemory.machine_of(fd) == machine() else None
        except (OSError, ValueError, struct.error):
            return None
        finally:
            os.close(fd)

    def remove(self, worker_id: str) -> None:
        with suppress(OSError):
            self._path(worker_id).unlink()

    def clean(self) -> None:
        """Remove what workers have left behind that nobody has rescued."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                is_old = path.stat().st_mtime < time.time() - LEFT_FOR
                if is_old and self.is_held(path.name) is not True:
                    path.unlink()

    def _path(self, worker_id: str) -> Path:
        return self._folder / re.sub(r"[^\w.:-]", "_", worker_id)

    def _make_folder(self) -> None:
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._share(self._folder)
        found = self._folder.lstat()
        if not self._is_shared and found.st_uid != os.getuid():
            # In a place for everybody's files somebody else may have made it first.
            raise PermissionError(f"the folder belongs to user {found.st_uid}")

    def _share(self, place: int | Path) -> None:
        """Let those use it who can use the place of the folder, as SQLite does with the files beside its own."""
        if self._is_shared:
            around = self._folder.parent.stat()
            os.chmod(place, around.st_mode & (0o777 if isinstance(place, Path) else 0o666))
            if os.geteuid() == 0:
                os.chown(place, around.st_uid, around.st_gid)


@cache
def machine() -> bytes:
    """
    Return what tells this machine, since it was last started, from all others: at most 38 bytes.

    A release that lays its files out differently is another machine: it must not read them.
    """
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:36]
    except OSError:
        name = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{os.uname().nodename}-{uuid.getnode()}")).encode()
    return b"%d:%b" % (LAYOUT, name)
