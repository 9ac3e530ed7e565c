"""The promises as rules over what a storm leaves. Each rule yields what broke it; its docstring is the promise."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from mainspring.brokers.deaths import DOUBTS
from mainspring.job import ENDS, State
from tests.torture import tasks
from tests.torture.history import Run
from tests.torture.outcome import MAX_CRASHES, Outcome

SLOTS = 104  # a process with the default options runs 4 sync and 100 async jobs at once
AHEAD = 256  # and holds no more than so many beyond them
# A process notes a job as started just before its first line, and may die in between: hardly twice in a storm.
NOTED_ONLY = 1
FLUSHED_WITHIN = 5.0  # seconds in which an outcome reaches a store that is there, on a busy machine


class Violation(NamedTuple):
    """A broken rule and what broke it; `job_id` is empty where it was no single job."""

    rule: str
    text: str
    job_id: str = ""


def violations(outcome: Outcome) -> list[Violation]:
    return [Violation((rule.__doc__ or "").strip(), text, job_id) for rule in RULES for job_id, text in rule(outcome)]


Broken = Iterator[tuple[str, str]]


def none_is_lost(outcome: Outcome) -> Broken:
    """Every committed enqueue is in the store."""
    for id, offer in outcome.history.offers.items():
        if offer.fate == "committed" and not outcome.rows[id]:
            yield id, "it was committed and is gone"


def none_comes_from_nowhere(outcome: Outcome) -> Broken:
    """What was rolled back never ran, and nothing is stored that nobody enqueued."""
    offers = outcome.history.offers
    for id in {run.job_id for run in outcome.history.runs} | set(outcome.rows):
        if id in offers and offers[id].fate == "undone":
            yield id, "its transaction was rolled back"
        if not outcome.rows[id]:
            yield id, "it ran and is not in the store"
        # An enqueue that the server's death cut off had told nobody its id.
        if id not in offers and not outcome.was_server_killed:
            yield id, "nobody enqueued it"


def each_ends_once(outcome: Outcome) -> Broken:
    """Every stored job ends, in one row."""
    for id, rows in outcome.rows.items():
        if [row.state in ENDS for row in rows] not in ([], [True]):
            yield id, f"its rows are {', '.join(row.state for row in rows)}"


def each_ends_right(outcome: Outcome) -> Broken:
    """Result, state and attempts are what the task makes of its arguments, whatever cut its runs off."""
    for id, offer in outcome.history.offers.items():
        due = tasks.due(offer.task, offer.args)
        for row in outcome.rows[id]:
            found = tasks.Due(State(row.state), row.attempts, row.result)
            if outcome.was_server_killed and offer.task in tasks.USE_THE_STORE:
                due = due._replace(attempts=row.attempts)  # one more for each time that it met no server
            if row.state in ENDS and row.state != State.QUARANTINED and found != due:
                yield id, f"expected {due}, got {found}"


def none_is_quarantined_by_chance(outcome: Outcome) -> Broken:
    """A job is quarantined only when it ran at so many deaths as are allowed, and the last of them was seen."""
    hits, seen = outcome.history.cut_off(), outcome.history.cut_off_alone()
    for row in outcome.ended(State.QUARANTINED):
        if hits[row.id] < (MAX_CRASHES if seen[row.id] else DOUBTS * MAX_CRASHES):
            yield row.id, f"its code was cut off {hits[row.id]} times, {seen[row.id]} of them seen"


def crashes_need_a_kill(outcome: Outcome) -> Broken:
    """There are no more crashes than killed processes can have run jobs, and a deploy counts none."""
    crashes = sum(row.crashes for row in outcome.jobs)
    most = SLOTS * len(outcome.history.struck("killed", "stopped"))
    if crashes > most:
        yield "", f"{crashes} crashes, {most} at most"


def only_what_ran_is_charged(outcome: Outcome) -> Broken:
    """Where its supervisor lives on, only a job whose code ran in the process that died is charged with a crash."""
    strikes = outcome.history.strikes
    if any(strike.kind == "stopped" or (strike.kind == "killed" and len(strike.pids) > 1) for strike in strikes):
        return
    unstarted = charged_unstarted(outcome)
    if unstarted.total() <= NOTED_ONLY:
        return
    for id, number in unstarted.items():
        yield id, f"{number} crashes more than it had runs in processes that died"


def interruptions_need_a_deploy(outcome: Outcome) -> Broken:
    """A run is interrupted only where a worker was told to stop, or a whole one died at what would end the job."""
    if outcome.history.struck("told", "orphaned"):
        return
    for row in outcome.jobs:
        if row.interruptions and row.crashes < MAX_CRASHES - 1:
            yield row.id, f"{row.interruptions} interruptions"


def none_runs_again_without_cause(outcome: Outcome) -> Broken:
    """An attempt that ended runs again only if a kill came before its end was stored, or its worker seemed dead."""
    for runs in attempts(outcome).values():
        without_cause = [run for run in runs if run.ended and not _was_held_up(run, outcome)]
        if len(without_cause) > 1:
            yield runs[0].job_id, f"attempt {runs[0].attempt} ended {len(without_cause)} times in processes that live"


def few_run_again_at_each_kill(outcome: Outcome) -> Broken:
    """What one killed process makes run again is no more than it may hold."""
    for pid, number in run_again(outcome).items():
        if number > SLOTS + AHEAD:
            yield "", f"{number} jobs that ended in process {pid} ran again"


def none_runs_twice_at_once(outcome: Outcome) -> Broken:
    """While a job runs it starts nowhere else, unless its worker seemed dead."""
    killed, stopped = outcome.history.struck("killed"), outcome.history.struck("stopped")
    for runs in attempts(outcome).values():
        for first, second in pairwise(runs):
            over_at = first.ended or killed.get(first.pid)
            if first.pid not in stopped and over_at and second.started < over_at:
                yield first.job_id, f"it started in {second.pid} while it ran in {first.pid}"


def only_what_was_struck_is_cut_off(outcome: Outcome) -> Broken:
    """A run ends unless somebody killed or stopped its process."""
    struck = outcome.history.struck("killed", "stopped", "told", "orphaned")
    for run in outcome.history.runs:
        if run.ended is None and run.pid not in struck:
            yield run.job_id, f"it never ended in process {run.pid}"


def all_is_done_in_time(outcome: Outcome) -> Broken:
    """After the last strike all is done within 15 s and one start, with threefold slack."""
    if outcome.done_seconds is None:
        yield "", f"not within {outcome.allowed_seconds:.0f} s"


def nothing_is_left_behind(outcome: Outcome) -> Broken:
    """Every command ends clean, and no worker stays listed."""
    for text in outcome.unclean:
        yield "", text
    for worker in outcome.workers:
        yield "", f"worker {worker.id} is still listed"


RULES: tuple[Callable[[Outcome], Broken], ...] = (
    none_is_lost,
    none_comes_from_nowhere,
    each_ends_once,
    each_ends_right,
    none_is_quarantined_by_chance,
    crashes_need_a_kill,
    only_what_ran_is_charged,
    interruptions_need_a_deploy,
    none_runs_again_without_cause,
    few_run_again_at_each_kill,
    none_runs_twice_at_once,
    only_what_was_struck_is_cut_off,
    all_is_done_in_time,
    nothing_is_left_behind,
)


def attempts(outcome: Outcome) -> dict[tuple[str, int], list[Run]]:
    """Return the runs of each attempt of each job, in the order of their starts."""
    found: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in sorted(outcome.history.runs, key=lambda run: run.started):
        found[run.job_id, run.attempt].append(run)
    return found


def run_again(outcome: Outcome) -> Counter[int]:
    """Return for each process how many runs ended in it of which the same attempt ended again later."""
    again: Counter[int] = Counter()
    for runs in attempts(outcome).values():
        ended = sorted((run for run in runs if run.ended), key=lambda run: run.ended or 0)
        again.update(run.pid for run in ended[:-1])
    return again


def charged_unstarted(outcome: Outcome) -> Counter[str]:
    """Return for each job how many crashes it is charged with beyond its runs in processes that were struck."""
    struck = outcome.history.struck("killed", "stopped", "orphaned")
    runs = Counter(run.job_id for run in outcome.history.runs if run.pid in struck)
    return Counter({row.id: row.crashes for row in outcome.jobs if row.crashes}) - runs


def _was_held_up(run: Run, outcome: Outcome) -> bool:
    """Was its process killed before it can have stored the end, or stopped?"""
    killed_at = outcome.history.struck("killed").get(run.pid)
    assert run.ended is not None
    return run.pid in outcome.history.struck("stopped") or (
        killed_at is not None and killed_at < run.ended + FLUSHED_WITHIN
    )
