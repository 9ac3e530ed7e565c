"""What storms came to, as people read it: a table, and the whole story of whatever broke a promise."""

from collections.abc import Callable, Sequence

from mainspring.job import State
from tests.torture.checker import Violation, attempts, charged_unstarted, none_is_lost, run_again
from tests.torture.events import Event
from tests.torture.outcome import Outcome

COLUMNS: dict[str, Callable[[Outcome], object]] = {
    "scenario": lambda outcome: outcome.scenario,
    "jobs": lambda outcome: len(outcome.jobs),
    "processes killed": lambda outcome: len(outcome.history.struck("killed")),
    "runs": lambda outcome: len(outcome.history.runs),
    "ran twice": lambda outcome: run_again(outcome).total(),
    "of one process": lambda outcome: max(run_again(outcome).values(), default=0),
    "lost": lambda outcome: len(list(none_is_lost(outcome))),
    "quarantined": lambda outcome: len(outcome.ended(State.QUARANTINED)),
    "crashes": lambda outcome: sum(job.crashes for job in outcome.jobs),
    "of jobs not started": lambda outcome: charged_unstarted(outcome).total(),
    "s until done after the last strike": lambda outcome: _seconds(outcome.done_seconds),
    "s of a start": lambda outcome: _seconds(outcome.start_seconds),
    "s of the longest enqueue": lambda outcome: _seconds(outcome.slowest_offer),
}
HEAD = f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}"
SHOWN = 5  # violations with their story; one cause tends to show in many jobs


def line(outcome: Outcome) -> str:
    """Return a storm as a line of the table."""
    return f"| {' | '.join(str(figure(outcome)) for figure in COLUMNS.values())} |"


def story(violations: Sequence[Violation], outcome: Outcome) -> str:
    """Return what was broken and everything that is known of the first jobs that broke it."""
    lines = [f"{outcome.scenario}: {len(violations)} violations"]
    for violation in violations[:SHOWN]:
        lines += ["", f"BROKEN: {violation.rule}", f"  {violation.text}"]
        lines += _job_story(violation.job_id, outcome) if violation.job_id else []
    if len(violations) > SHOWN:
        lines += ["", *(f"also: {v.rule} {v.text} {v.job_id}" for v in violations[SHOWN : 10 * SHOWN])]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"


def _job_story(job_id: str, outcome: Outcome) -> list[str]:
    lines = [f"  job {job_id}, whose story is, in seconds of the machine's clock:"]
    moments = [(event.at, _event_text(event)) for event in outcome.history.events[job_id]]
    pids = {run.pid for runs in attempts(outcome).values() for run in runs if run.job_id == job_id}
    for strike in outcome.history.strikes:
        if pids & set(strike.pids) or not strike.pids:
            moments.append((strike.at, f"{strike.kind} {sorted(pids & set(strike.pids)) or ''}"))
    lines += [f"    {at:.3f} {text}" for at, text in sorted(moments)]
    for row in outcome.rows[job_id]:
        lines.append(f"    row: { {key: value for key, value in vars(row).items() if key != '_state'} }")
    return lines


def _event_text(event: Event) -> str:
    detail = f" {event.detail}" if isinstance(event.detail, list) else ""
    return f"{event.kind}{detail}, attempt {event.attempt}, process {event.pid}"
