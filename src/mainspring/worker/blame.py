"""Shared memory in which a worker process notes what it is running, for whoever finds it dead."""

import mmap
import os
import tempfile

WIDTH = 40  # bytes: a job id of 36 characters, padded


class Blame:
    """
    One line per slot: the id of the job whose code runs there now.

    A process that is killed cannot say what it was running, and what it merely held must not be blamed. Its memory
    map outlives it.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self._slots = slots
        self._memory = mmap.mmap(fd, slots * WIDTH)

    @classmethod
    def create(cls, slots: int) -> "Blame":
        """Make a new map in an unlinked file; pass its `fd` to the child."""
        with tempfile.TemporaryFile() as file:
            file.truncate(slots * WIDTH)
            return cls(os.dup(file.fileno()), slots)

    def start(self, slot: int, job_id: str) -> None:
        at = slot * WIDTH
        self._memory[at : at + WIDTH] = job_id.encode("ascii", "replace")[:WIDTH].ljust(WIDTH)

    def end(self, slot: int) -> None:
        self._memory[slot * WIDTH] = 0

    def started(self) -> frozenset[str]:
        """Return the ids of the jobs that are running, or were when the process died."""
        lines = (self._memory[slot * WIDTH : (slot + 1) * WIDTH] for slot in range(self._slots))
        return frozenset(line.decode("ascii").strip() for line in lines if line[0])

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)
