"""What a storm leaves behind."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from mainspring.brokers.base import WorkerInfo
from tests.torture.history import History

WITHIN = 15.0  # seconds in which the jobs of a dead worker run again
SLACK = 3  # times as long as promised, before a storm gives up
MAX_CRASHES = 3


@dataclass(frozen=True)
class Outcome:
    """The log, the rows of the two tables, and how it ended. `done_seconds` is None if something was left to do."""

    scenario: str
    history: History
    jobs: list[Any]
    workers: list[WorkerInfo]
    unclean: list[str]
    start_seconds: float
    done_seconds: float | None
    slowest_offer: float
    rows: dict[str, list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        rows: dict[str, list[Any]] = defaultdict(list)
        for job in self.jobs:
            rows[job.id].append(job)
        object.__setattr__(self, "rows", rows)

    @property
    def allowed_seconds(self) -> float:
        return SLACK * (WITHIN + self.start_seconds)

    @property
    def was_server_killed(self) -> bool:
        return any(strike.kind == "server killed" for strike in self.history.strikes)

    def ended(self, state: str) -> list[Any]:
        return [job for job in self.jobs if job.state == state]
