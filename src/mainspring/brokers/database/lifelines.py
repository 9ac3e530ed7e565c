"""Which workers on a database file live, whatever their beats say: each holds a lock that the kernel frees."""

import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from mainspring.exceptions import BrokerUnavailable

logger = logging.getLogger("mainspring.worker")

# Somebody who looks holds the lock for a few microseconds; who holds it longer is another worker of the same id.
TRIES = 1000
PAUSE = 0.001
READ_AND_WRITE, READ = 0o666, 0o444
DIGITS = 16  # of the hash that keeps the names of files apart

_complained: set[Path] = set()


class Lifelines:
    """
    The locked files of the workers on one database, in a folder beside it.

    A file is locked first and filled then, so that an empty one belongs to a worker that is about to begin.
    """

    def __init__(self, database: str) -> None:
        self._database = Path(database)
        self._folder = Path(f"{database}-workers")

    def hold(self, worker_id: str) -> int | None:
        """Lock the file of this worker and return its descriptor; None, said once, where that cannot be done."""
        try:
            self._make_folder()
            return self._hold(worker_id)
        except OSError as error:
            self._complain(error)
            return None

    def is_held(self, worker_id: str) -> bool | None:
        """Is the file of this worker locked? None where nobody can tell."""
        try:
            file = os.open(self._path(worker_id), os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None
        try:
            # Shared, or two who look at the same time would take each other for the worker.
            if not _can_lock(file, fcntl.LOCK_SH):
                return True
            return False if os.fstat(file).st_size else None
        except OSError as error:
            self._complain(error)
            return None
        finally:
            os.close(file)

    def remove(self, gone: Collection[str], known: Collection[str]) -> None:
        """Delete the files of workers that are gone, and those that neither a known nor a living worker has."""
        kept = {self._path(worker_id) for worker_id in known}
        try:
            for worker_id in gone:
                self._path(worker_id).unlink(missing_ok=True)
            for path in set(self._folder.glob("*." + "[0-9a-f]" * DIGITS)) - kept:
                _remove_unless_held(path)
        except OSError as error:
            self._complain(error)

    def _path(self, worker_id: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", worker_id)[:64]
        digest = hashlib.sha256(worker_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{readable}.{digest[:DIGITS]}"

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir()
        except FileExistsError:
            return
        self._share(self._folder, is_folder=True)

    def _hold(self, worker_id: str) -> int:
        path = self._path(worker_id)
        for _ in range(TRIES):
            file = os.open(path, os.O_RDWR | os.O_CREAT, READ_AND_WRITE)
            try:
                # Not the file that somebody has just deleted as stale.
                if _can_lock(file, fcntl.LOCK_EX) and _is_at(path, file):
                    self._share(file)
                    os.write(file, worker_id.encode(errors="replace"))
                    return file
            except OSError:
                os.close(file)
                raise
            os.close(file)
            time.sleep(PAUSE)
        raise BrokerUnavailable(f"{path}: another process is the worker {worker_id!r} already.")

    def _share(self, file: int | Path, *, is_folder: bool = False) -> None:
        """Let those use it who can use the database, as SQLite does with its own files."""
        database = self._database.stat()
        mode = database.st_mode & READ_AND_WRITE
        os.chmod(file, mode | (mode & READ) >> 2 if is_folder else mode)
        if os.geteuid() == 0:
            os.chown(file, database.st_uid, database.st_gid)

    def _complain(self, error: OSError) -> None:
        if self._folder not in _complained:
            _complained.add(self._folder)
            logger.warning("Whether a worker lives shows by its beat alone, which a long transaction stops: %s", error)


def _can_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _remove_unless_held(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # somebody else tidies up too
    try:
        if _can_lock(file, fcntl.LOCK_SH):
            path.unlink(missing_ok=True)
    finally:
        os.close(file)
