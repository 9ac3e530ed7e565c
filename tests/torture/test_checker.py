"""Every rule of a storm can be broken: short stories that break one, and their innocent likes."""

import json
from types import SimpleNamespace

import pytest

from tests.torture import checker
from tests.torture.events import Event
from tests.torture.history import History
from tests.torture.outcome import Outcome

KEPT = [("offered", 0.0, ["short", [21]]), ("committed", 0.0, None)]
UNDONE = [("undone", 0.0, ["short", [21]])]


@pytest.fixture
def outcome_of(tmp_path):
    """Make an outcome of a log, given as `(kind, moment, detail[, process])`, and the rows of its only job."""
    histories = []

    def make(log, rows, **changes):
        path = tmp_path / "events"
        events = [Event(kind, "j", 1, *(process or [1]), at, detail) for kind, at, detail, *process in log]
        path.write_text("\n".join(map(json.dumps, events)) + "\n")
        histories.append(History(path))
        histories[-1].read()
        usual = {
            "scenario": "",
            "workers": [],
            "unclean": [],
            "start_seconds": 1.0,
            "done_seconds": 1.0,
            "slowest_offer": 0,
        }
        return Outcome(**usual | {"history": histories[-1], "jobs": rows} | changes)

    yield make
    for history in histories:
        history.close()


def row(**changes):
    usual = {"id": "j", "state": "succeeded", "result": "42", "attempts": 1, "crashes": 0, "interruptions": 0}
    return SimpleNamespace(**usual | changes)


def run(started, ended=None, process=1):
    start = [("started", started, None, process)]
    return start + ([] if ended is None else [("ended", ended, started, process)])


def killed(at, *processes):
    return [("killed", at, list(processes))]


KILLED_WITH_ALL = [line for pid in (1, 2, 3) for line in [*run(pid, process=pid), *killed(pid + 0.5, pid, 9)]]

FINE = {
    "a plain run": ([*KEPT, *run(1, 2)], [row()]),
    "never committed": ([KEPT[0]], []),
    "undone": (UNDONE, []),
    "run again after a kill before its end was stored": (
        [*KEPT, *run(1, 2), *killed(2.1, 1), *run(3, 4, process=2)],
        [row(crashes=1)],
    ),
    "cut off, then run elsewhere": ([*KEPT, *run(1), *killed(2, 1), *run(3, 4, process=2)], [row(crashes=1)]),
    "run twice at once, since one worker stood still": (
        [*KEPT, *run(1, 9), ("stopped", 2, [1]), *run(3, 4, process=2)],
        [row(crashes=1)],
    ),
    "charged though it never started, since the whole command fell": (
        [*KEPT, *killed(1, 1, 3), *run(2, 3, process=2)],
        [row(crashes=1)],
    ),
    "spared, since nobody saw how its worker died": (
        [*KEPT, *KILLED_WITH_ALL, *run(8, 9, process=8)],
        [row(crashes=2, interruptions=1)],
    ),
    "quarantined with cause": (
        [*KEPT, *(line for pid in (1, 2, 3) for line in [*run(pid, process=pid), *killed(pid + 0.5, pid)])],
        [row(state="quarantined", crashes=3)],
    ),
}

BROKEN = {
    checker.none_is_lost: [([*KEPT], [])],
    checker.none_comes_from_nowhere: [
        (UNDONE, [row()]),
        ([*UNDONE, *run(1, 2)], []),
        ([], [row()]),
        ([*KEPT[:1], *run(1, 2)], []),
    ],
    checker.each_ends_once: [(KEPT, [row(), row()]), (KEPT, [row(state="ready")]), (KEPT, [row(state="running")])],
    checker.each_ends_right: [(KEPT, [row(result="41")]), (KEPT, [row(attempts=2)]), (KEPT, [row(state="failed")])],
    checker.none_is_quarantined_by_chance: [
        ([*KEPT, *run(1), *killed(2, 1)], [row(state="quarantined", crashes=3)]),
        ([*KEPT, *KILLED_WITH_ALL], [row(state="quarantined", crashes=3)]),
    ],
    checker.crashes_need_a_kill: [([*KEPT, *run(1, 2)], [row(crashes=1)])],
    checker.only_what_ran_is_charged: [([*KEPT, *run(1, 2), *killed(3, 2)], [row(crashes=2)])],
    checker.interruptions_need_a_deploy: [([*KEPT, *run(1, 2)], [row(interruptions=1)])],
    checker.none_runs_again_without_cause: [
        ([*KEPT, *run(1, 2), *run(3, 4, process=2)], [row()]),
        ([*KEPT, *run(1, 2), *run(3, 4, process=2), *killed(9, 1)], [row()]),
    ],
    checker.none_runs_twice_at_once: [
        ([*KEPT, *run(1, 4), *run(2, 3, process=2)], [row()]),
        ([*KEPT, *run(1), *run(2, 3, process=2), *killed(4, 1)], [row()]),
    ],
    checker.only_what_was_struck_is_cut_off: [([*KEPT, *run(1), *run(2, 3, process=2)], [row()])],
}


@pytest.mark.parametrize(("log", "rows"), FINE.values(), ids=FINE)
def test_an_innocent_story_breaks_nothing(outcome_of, log, rows):
    """What a kill explains is no violation."""
    assert checker.violations(outcome_of(log, rows)) == []


@pytest.mark.parametrize(
    ("rule", "log", "rows"),
    [pytest.param(rule, *story, id=rule.__name__) for rule, stories in BROKEN.items() for story in stories],
)
def test_each_rule_can_be_broken(outcome_of, rule, log, rows):
    """The rule names the job."""
    assert [violation[0] for violation in rule(outcome_of(log, rows))][:1] in (["j"], [""])


def test_more_runs_again_than_a_process_may_hold_is_broken(outcome_of, monkeypatch):
    """The bound is on each killed process."""
    monkeypatch.setattr(checker, "AHEAD", -checker.SLOTS)
    outcome = outcome_of([*KEPT, *run(1, 2), *killed(2.1, 1), *run(3, 4, process=2)], [row(crashes=1)])

    assert list(checker.few_run_again_at_each_kill(outcome)) == [("", "1 jobs that ended in process 1 ran again")]


def test_work_left_over_and_workers_left_listed_are_broken(outcome_of):
    """These two concern the storm and not one job."""
    outcome = outcome_of(KEPT, [row()], done_seconds=None, unclean=["exit code 1"], workers=[SimpleNamespace(id="w")])

    assert [violation.text for violation in checker.violations(outcome)] == [
        "not within 48 s",
        "exit code 1",
        "worker w is still listed",
    ]


def test_a_torn_line_is_left_out(outcome_of, tmp_path):
    """A kill in the middle of a write costs that line alone."""
    history = outcome_of(KEPT, [row()]).history
    with (tmp_path / "events").open("a") as log:
        log.write('\n["started", "j", 1, 1\n\n' + json.dumps(Event("started", "j", 1, 2, 5.0, None)) + "\n")
    history.read()

    assert [run.pid for run in history.runs] == [2]
