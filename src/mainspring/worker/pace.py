"""How many jobs a pool may hold ahead of those that it runs."""

AHEAD = 0.020  # seconds of work held ahead: enough to cover a claim's round trip, too little to keep a job waiting
LIMIT = 256  # a larger batch makes PostgreSQL change its plan: 47 instead of 15 µs per job at 1,000
WEIGHT = 0.3  # of the newest measurement


class Pace:
    """
    Measures how fast a pool gets through its jobs.

    It starts from "slow", so nothing is held ahead until jobs have shown that they are short.
    """

    def __init__(self) -> None:
        self._seconds_per_job = 1.0
        self._since: float | None = None

    def record(self, jobs: int, elapsed: float) -> None:
        """Note that `jobs` ended since the last call."""
        if self._since is not None and jobs:
            measured = (elapsed - self._since) / jobs
            self._seconds_per_job += WEIGHT * (measured - self._seconds_per_job)
            # After one long job a row of short ones should not take ten batches to be believed.
            self._seconds_per_job = min(self._seconds_per_job, 4 * measured)
        self._since = elapsed

    def begin(self, elapsed: float) -> None:
        """Note that the pool goes from idle to busy now: the pause before it says nothing about jobs."""
        self._since = elapsed

    def ahead(self, elapsed: float) -> int:
        """Return how many jobs to hold beyond those that can run at once."""
        since = elapsed if self._since is None else self._since
        expected = max(self._seconds_per_job, elapsed - since)
        return min(int(AHEAD / expected), LIMIT) if expected > 0 else LIMIT
