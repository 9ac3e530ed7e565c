"""Memory that a supervisor and one of its children share: what runs there, and how long the child may trust itself."""

import errno
import mmap
import os
import struct
from typing import NamedTuple

# Until when others surely take the child for alive, and since when without a gap, on CLOCK_BOOTTIME; by how much the
# clock of the store is ahead of that, in microseconds; the machine of both; whether the child has been told to stop.
HEADER = struct.Struct("ddq40sQ")
LAYOUT = 2  # of HEADER and SLOT; one more with every change
STOPPING_AT = HEADER.size - 8
BEAT = struct.Struct("ddq")
SLOT = struct.Struct("40sdQ")  # the job's id, the moment on the monotonic clock that ends its patience, the thread


class Running(NamedTuple):
    """What runs in one slot: by `gives_up_at` the child itself should have ended it, 0.0 is never."""

    job_id: str
    gives_up_at: float
    thread_id: int


class SharedMemory:
    """
    One record for each slot in which the child runs jobs, in the file `fd`.

    A process that is killed cannot say what it was running, and what it merely held must not be blamed. The file
    outlives it. And a process whose interpreter is held by one job cannot say anything.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, 0)

    @classmethod
    def create(cls, fd: int, slots: int, machine: bytes) -> "SharedMemory":
        """Give an empty file the size for so many slots; pass its `fd` to the child. Raise OSError without room."""
        size = HEADER.size + slots * SLOT.size
        # Written, not only made so long: to touch a page for which a disk has no room ends the process (SIGBUS).
        if os.pwrite(fd, bytes(size), 0) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        memory = cls(fd)
        HEADER.pack_into(memory._memory, 0, 0.0, 0.0, 0, machine, False)
        return memory

    @staticmethod
    def machine_of(fd: int) -> bytes:
        """Return the machine that a file of another process is from."""
        header = os.pread(fd, HEADER.size, 0)
        return bytes(HEADER.unpack(header)[3]).rstrip(b"\0") if len(header) == HEADER.size else b""

    @staticmethod
    def was_stopping_in(fd: int) -> bool:
        """Had the file's process been told to stop when it died?"""
        return any(os.pread(fd, 8, STOPPING_AT))

    @staticmethod
    def started_in(fd: int) -> frozenset[str]:
        """Return the ids of the jobs that ran when the file's process died."""
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        return frozenset(running.job_id for running in _running(content))

    # For the child.

    def start(self, slot: int, job_id: str, gives_up_at: float = 0.0, thread_id: int = 0) -> None:
        at = HEADER.size + slot * SLOT.size
        SLOT.pack_into(self._memory, at, job_id.encode("ascii", "replace"), gives_up_at, thread_id)

    def end(self, slot: int) -> None:
        # All of it: who looks while the next job is noted must not see that one's id with the time of this one.
        SLOT.pack_into(self._memory, HEADER.size + slot * SLOT.size, b"", 0.0, 0)

    def trusted_until(self) -> float:
        """Return the moment of CLOCK_BOOTTIME until which others surely take the child for alive."""
        return float(BEAT.unpack_from(self._memory)[0])

    def is_trusted(self, since: float, now: float) -> bool:
        """Have others surely taken the child for alive all the time from `since` until `now`?"""
        # In this order, which is not the order in which they are written: together they are never too good.
        return now < self.trusted_until() and float(BEAT.unpack_from(self._memory)[1]) <= since

    def clock_offset(self) -> int:
        """Return the offset of a Clock that shows the store's time; it is right from the first trust on."""
        return int(BEAT.unpack_from(self._memory)[2])

    # For the supervisor.

    def trust(self, since: float, until: float, clock_offset: int) -> None:
        """Pass on what the last beat has shown."""
        struct.pack_into("q", self._memory, 16, clock_offset)
        struct.pack_into("d", self._memory, 8, since)
        struct.pack_into("d", self._memory, 0, until)
        os.utime(self.fd)  # a change of the memory does not show everywhere that the file is in use

    def note_stop(self) -> None:
        """Note that the child has been told to stop, for whoever finds what it could not give back."""
        struct.pack_into("Q", self._memory, STOPPING_AT, True)

    def is_busy(self) -> bool:
        """Does anything run? This is cheap enough to be asked many times a second."""
        return any(self._memory[HEADER.size :: SLOT.size])

    def running(self) -> list[Running]:
        """Return what runs, or ran when the process died."""
        return _running(self._memory[:])

    def started(self) -> frozenset[str]:
        """Return the ids of the jobs that are running, or were when the process died."""
        return frozenset(running.job_id for running in self.running())

    def close(self) -> None:
        """Give it back; to call this again does nothing."""
        self._memory.close()
        if self.fd >= 0:
            # Not later: a fork of a fork closes it again, and the number may be another file's by then.
            fd, self.fd = self.fd, -1
            os.close(fd)


def _running(content: bytes) -> list[Running]:
    records = SLOT.iter_unpack(content[HEADER.size :])
    return [Running(id.rstrip(b"\0").decode("ascii", "replace"), *rest) for id, *rest in records if id[0]]
