"""Fairness: at which moment a job lines up beside those of other keys, the same on every store."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import NamedTuple

from mainspring import job as machine
from mainspring.job import FAIR, Job

MOST_NAMES = 64  # that are seen to in one go; who comes behind them is first the next time


class Line(NamedTuple):
    """Jobs of one priority in a queue stand in one line."""

    queue_name: str
    priority: int

    @property
    def name(self) -> str:
        """Under which name is kept how far the line has come; no job waits under it."""
        return f"{FAIR}{self.priority}:{self.queue_name}"


def line_of(job: Job) -> Line:
    return Line(job.queue_name, job.priority)


def in_rotation(names: Sequence[str], after: str) -> list[str]:
    """Return those of some names, which are in order, whose turn it is when `after` was the last."""
    return [*(name for name in names if name > after), *(name for name in names if name <= after)][:MOST_NAMES]


def share_of(limit: int, names: int) -> int:
    """Return how many jobs of each of so many names are seen to, when it may be `limit` in all."""
    return max(1, limit // max(1, names))


def lined_up(jobs: Sequence[Job], heads: Mapping[Line, int], kept: MutableMapping[str, int]) -> list[Job]:
    """
    Return jobs, those of each name in their order, with the ranks that they get.

    `heads` are the moments at which the first job of each line stands that has a rank, or now where there is none.
    `kept` are moments: under the name of a line how far it has come, and under that of a key where the last of its
    jobs ends. Both are brought forward.

    Start-time fair queueing (Goyal, Vin, Cheng 1996): a job begins where the last one of its key ends, or where its
    line is now if that is later. So a key with many jobs takes, of any stretch of the line, no more than its share,
    and one that comes later begins at the head, not behind all of them.
    """
    lined_up = []
    for job in jobs:
        line, name = line_of(job), job.parked_under or ""
        now = kept[line.name] = max(kept.get(line.name, 0), heads[line])
        begins = max(now, kept.get(name, 0))
        kept[name] = begins + machine.length_of(job)
        lined_up.append(machine.give_rank(job, begins))
    return lined_up
