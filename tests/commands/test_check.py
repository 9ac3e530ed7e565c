"""check: settings, databases, and the way of a job through each store."""

import pytest
from django.conf import settings
from django.core.checks import Error, Warning
from django.core.management.base import CommandError
from django.db import connections

from mainspring.commands import check


def test_all_is_well(mainspring):
    found = mainspring("check")
    header, default, memory = found.lines[-5:-2]

    assert header == "BACKEND REACH MS PUSH MS CLAIM MS FINISH MS READ MS"
    assert (default.split()[0], memory.split()[0]) == ("default", "memory")
    assert (found.code, found.lines[-1]) == (0, "All is well.")


def test_each_step_is_timed(mainspring):
    default, memory = mainspring("check", "--json").json["round_trips"]

    assert list(default["steps_ms"]) == list(memory["steps_ms"]) == ["reach", "push", "claim", "finish", "read"]
    assert all(milliseconds > 0 for milliseconds in default["steps_ms"].values())


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_of_the_job(mainspring, broker):
    mainspring("check")

    assert broker.search() == []


@pytest.mark.django_db(transaction=True)
def test_nobody_else_ever_sees_the_job(mainspring, broker, monkeypatch):
    """A worker that serves every queue would take it."""
    seen = []
    look = check.RoundTrip.step

    def step(self, name, *arguments):
        value = look(self, name, *arguments)
        if self.alias == "default" and name != "reach":
            seen.append(jobs_seen_by_others())
        return value

    monkeypatch.setattr(check.RoundTrip, "step", step)
    mainspring("check")

    assert seen == [0, 0, 0, 0]


def jobs_seen_by_others():
    other = connections["default"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM mainspring_job")
            return cursor.fetchone()[0]
    finally:
        other.close()


@pytest.mark.parametrize(
    ("verb", "answer", "problem"),
    [
        ("claim", [], "claim: the job that was pushed was expected, got []"),
        ("settle", set(), "finish: the outcome to be accepted was expected, got set()"),
        ("get", None, "read: the job as it ended was expected, got None"),
    ],
)
def test_a_store_that_does_not_do_its_work(mainspring, broker, monkeypatch, verb, answer, problem):
    monkeypatch.setattr(broker, verb, lambda *_: answer)
    found = mainspring("check")

    assert found.code == 1
    assert found.lines[-3:] == [f"default: {problem}", "", "1 problem found."]
    if verb != "settle" or settings.STORE != "redis":  # where nothing can be undone without it
        assert broker.search() == []


def test_a_store_that_is_away(mainspring, away, says):
    """Its database is not asked any further, and the other backends are still tried."""
    found = mainspring("check", "--json")

    assert found.code == 1
    assert says.asked == [[]]
    assert found.json["round_trips"][0] == {
        "alias": "default",
        "steps_ms": {},
        "problem": "DATABASES['default']: connection refused Is the server running?",
    }
    assert found.json["round_trips"][1]["problem"] is None


def test_a_database_that_answers_is_checked(mainspring, says):
    mainspring("check")

    assert says.asked == [[] if settings.STORE == "redis" else ["default"]]


class Says:
    """Stands for Django's system checks: says these messages, and remembers which databases it was to ask."""

    def __init__(self):
        self.messages = []
        self.asked = []

    def __call__(self, databases):
        self.asked.append(databases)
        return self.messages


@pytest.fixture
def says(monkeypatch):
    says = Says()
    monkeypatch.setattr(check.checks, "run_checks", says)
    return says


def test_an_error_of_the_system_checks_is_a_problem(mainspring, says):
    says.messages = [Error("No table.", hint="Migrate.", id="mainspring.E009")]
    found = mainspring("check")

    assert found.code == 1
    assert found.lines[:2] == ["?: (mainspring.E009) No table.", "HINT: Migrate."]
    assert found.lines[-1] == "1 problem found."


def test_a_warning_is_shown_and_fails_only_when_told(mainspring, says):
    says.messages = [Warning("Slow.", id="mainspring.W009")]

    assert mainspring("check").code == 0
    assert mainspring("check").lines[0] == "?: (mainspring.W009) Slow."
    assert mainspring("check", "--fail-level", "WARNING").code == 1


def test_what_is_silenced_or_not_ours_is_left_out(mainspring, says, settings):
    settings.SILENCED_SYSTEM_CHECKS = ["mainspring.W009"]
    says.messages = [Error("Bad.", id="models.E001"), Warning("Slow.", id="mainspring.W009"), Error("No id.")]
    found = mainspring("check", "--fail-level", "WARNING", "--json")

    assert (found.code, found.json["messages"]) == (0, [])


def test_json(mainspring, says):
    says.messages = [Error("No table.", hint="Migrate.", id="mainspring.E009")]
    found = mainspring("check", "--json")

    assert found.json["is_ok"] is False
    assert found.json["messages"] == [
        {"id": "mainspring.E009", "level": "ERROR", "text": "No table.", "hint": "Migrate."}
    ]
    keys = {*found.json, *found.json["messages"][0], *found.json["round_trips"][0]}
    assert all(key in check.EXAMPLES for key in keys)


def test_a_project_without_our_backend_is_told_so(mainspring, settings):
    settings.TASKS = {}
    with pytest.raises(CommandError, match="TASKS has no backend of Mainspring"):
        mainspring("check")
