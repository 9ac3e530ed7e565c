"""How much memory a process and the machine use."""

import os
from contextlib import suppress
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
CGROUP = Path("/sys/fs/cgroup")


def used_by(pid: int) -> int | None:
    """Return how many bytes of memory a process occupies, None where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return _used_by_psutil(pid)


def used_percent() -> float | None:
    """
    Return how much of the memory of this machine, or of this container if that is less, is in use.

    None where the system does not say. What the system could free at once does not count as used.
    """
    shares = [share for share in (_of_container(), _of_machine()) if share is not None]
    return max(shares, default=None)


def _used_by_psutil(pid: int) -> int | None:
    # Outside of Linux, if the project has it.
    with suppress(ImportError, OSError):
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
    return None


def _of_machine() -> float | None:
    with suppress(OSError, ValueError, KeyError):
        lines = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        facts = {name: int(value.split()[0]) for name, value in lines}
        return 100 * (1 - facts["MemAvailable"] / facts["MemTotal"])
    with suppress(ImportError):
        import psutil

        return float(psutil.virtual_memory().percent)
    return None


def _of_container() -> float | None:
    with suppress(OSError, ValueError, StopIteration):  # no cgroups of version 2, or the limit is "max"
        limit = int((CGROUP / "memory.max").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return 100 * (int((CGROUP / "memory.current").read_text()) - cached) / limit
    return None
