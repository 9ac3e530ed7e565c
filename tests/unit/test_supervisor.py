"""A supervisor, as far as one can look at it without starting a worker."""

import signal
import time
from types import SimpleNamespace

import pytest

from mainspring.brokers.memory import MemoryBroker
from mainspring.exceptions import BrokerUnavailable
from mainspring.worker.plan import Plan
from mainspring.worker.supervisor import Supervisor


@pytest.fixture
def supervisor():
    """One whose processes have all ended, and whose store is away."""
    made = object.__new__(Supervisor)
    made._stops_by = None
    made._listener = None
    made._is_refused = False
    made._children = SimpleNamespace(is_done=True, needs_alone=bool)
    made._caretaker = SimpleNamespace(is_settled=False, has_alone=False, tick=lambda: 1.0, beat_soon=lambda: None)
    made._questions = SimpleNamespace(pauses=list)
    return made


def test_a_drain_ends_when_what_its_processes_held_has_been_taken_back(supervisor):
    """It waits for a store that is away; only a stop does not."""
    assert not supervisor._is_over()
    supervisor._stops_by = time.monotonic()
    assert supervisor._is_over()
    supervisor._stops_by = None
    supervisor._caretaker.is_settled = True
    assert supervisor._is_over()


def test_a_stop_that_comes_last_still_keeps_it_from_starting_again(supervisor):
    """Signing off may take a while, and the program that takes over would know nothing of it."""
    supervisor._stops_by = time.monotonic()
    supervisor._is_forced = False
    supervisor.runs_again = True
    supervisor._signals = []
    supervisor._caretaker.leave = lambda: supervisor._signals.append(signal.SIGTERM)
    supervisor._children.unannounced = []

    assert supervisor._end() == 0
    assert not supervisor.runs_again


def test_it_does_not_spin_while_a_killed_process_takes_its_time(supervisor):
    """A process that waits for a disk cannot be killed; its death is heard of anyway."""
    supervisor._stops_by = time.monotonic() - 60

    assert min(supervisor._pauses()) > 0


def test_a_store_that_refuses_only_to_be_listened_to_is_said_once(supervisor, caplog):
    """Jobs then start up to a beat late, and somebody will ask why."""

    def refuse():
        raise BrokerUnavailable("no connection left")

    supervisor._has_said_deaf = supervisor._caretaker.is_away = False
    supervisor._broker = SimpleNamespace(listen=refuse)
    for _ in range(3):
        supervisor._listen()

    assert [record.getMessage() for record in caplog.records if "no connection left" in record.getMessage()] == [
        "Listening for work is not possible; until it is, each beat looks for some. no connection left"
    ]


def test_a_store_that_is_away_is_not_said_to_refuse_anything(supervisor, caplog):
    """The caretaker says that it is away, and one line is enough."""

    def refuse():
        raise BrokerUnavailable("away")

    supervisor._has_said_deaf, supervisor._caretaker.is_away = False, True
    supervisor._broker = SimpleNamespace(listen=refuse)
    supervisor._listen()

    assert caplog.records == []


def test_settings_that_change_while_the_first_process_starts_are_seen(tmp_path, monkeypatch):
    """The supervisor has loaded them itself, and watches them from then on."""
    settings = tmp_path / "settings.py"
    settings.write_text("A = 1")
    monkeypatch.setattr("mainspring.worker.supervisor._own_files", lambda: {str(settings)})
    made = Supervisor(Plan("memory", "default", {"reload": True}), MemoryBroker("memory"))
    settings.write_text("A = 10")

    assert made._files.changed() == str(settings)
