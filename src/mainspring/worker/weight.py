"""Whether a worker process has grown too large."""

import logging
import os

from mainspring.worker.memory import used_by

logger = logging.getLogger("mainspring.worker")

WEIGH_EVERY = 1.0
SAY_AGAIN_AFTER = 3600.0


class Weight:
    """Weighs this process against `limit` bytes; make it before the process has run anything."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._at_first = used_by(os.getpid()) or 0
        self._weighs_at = 0.0

    def excess(self, elapsed: float) -> str | None:
        """Say that the process is too large, and by how much, if it is; `elapsed` is the clock's."""
        if self._limit is None or elapsed < self._weighs_at:
            return None
        self._weighs_at = elapsed + WEIGH_EVERY
        used = used_by(os.getpid()) or 0
        if used <= self._limit:
            return None
        if self._at_first > self._limit:
            logger.warning(
                "max_memory is %d MB, but a process of this project takes %d MB before it runs anything; it is left"
                " alone. Raise max_memory.",
                self._limit // 10**6,
                self._at_first // 10**6,
            )
            self._weighs_at = elapsed + SAY_AGAIN_AFTER
            return None
        return f"uses {used // 10**6} MB of at most {self._limit // 10**6} MB"
