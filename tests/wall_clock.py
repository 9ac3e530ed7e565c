"""A wall clock that a test can set wrong, in the processes that are told of its file by the environment."""

import os
import time
from pathlib import Path

ENVIRONMENT = "MAINSPRING_TEST_CLOCK"


def follow_file() -> None:
    """Let this process's wall clock be off by the number of seconds in the file, if it is told of one."""
    if ENVIRONMENT not in os.environ:
        return
    file = Path(os.environ[ENVIRONMENT])
    real, real_ns = time.time, time.time_ns

    def shift() -> int:
        return int(file.read_text())

    time.time = lambda: real() + shift()
    time.time_ns = lambda: real_ns() + shift() * 1_000_000_000
