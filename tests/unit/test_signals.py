"""Which lines about jobs anybody would see, and what is sent when nobody does."""

import functools
import logging

import pytest

from mainspring.compat import task_finished, task_started
from mainspring.worker import signals


class Handler(logging.Handler):
    def __init__(self, level=logging.NOTSET):
        super().__init__(level)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def log():
    """A logger without any handler, below one that has none either."""
    parent = logging.Logger("parent", logging.INFO)
    log = logging.Logger("parent.child")
    log.parent = parent
    parent.propagate = True
    return log


def is_logged(log, level=logging.INFO):
    return signals.is_logged(log, level)


def test_without_a_handler(log):
    """Python itself writes what is a warning or worse."""
    assert not is_logged(log)
    assert is_logged(log, logging.WARNING)


def test_a_handler_decides_by_its_level(log):
    """Wherever it stands above, unless the line does not come so far."""
    log.parent.addHandler(Handler(logging.INFO))
    assert is_logged(log)
    assert not is_logged(log, logging.DEBUG)

    log.propagate = False
    assert not is_logged(log)


def test_the_logger_decides_by_its_level(log):
    log.addHandler(Handler())
    log.setLevel(logging.ERROR)

    assert not is_logged(log)


def test_djangos_own_filters(log, settings):
    """By default the console takes lines where DEBUG is True, and mail to admins does where it is not."""
    handler = Handler()
    handler.addFilter(signals.RequireDebugTrue())
    log.addHandler(handler)

    settings.DEBUG = False
    assert not is_logged(log, logging.ERROR)
    settings.DEBUG = True
    assert is_logged(log)

    handler.filters = [signals.RequireDebugFalse()]
    assert not is_logged(log)


@pytest.mark.parametrize("place", ["handler", "logger"])
def test_a_filter_that_nobody_knows(log, place):
    """It may let a line through, or only look at it."""
    handler = Handler() if place == "handler" else Handler(logging.CRITICAL)
    log.addHandler(handler)
    (handler if place == "handler" else log).addFilter(lambda record: False)

    assert is_logged(log)


@pytest.mark.parametrize("name", ["callHandlers", "handle", "makeRecord", "_log"])
@pytest.mark.parametrize("way", ["function", "wrapper", "partial"])
def test_whoever_looks_at_every_line(log, monkeypatch, name, way):
    """Error trackers put themselves in the way of each, whether a handler takes it or not."""
    own = getattr(logging.Logger, name)

    def function(self, *args, **kwargs):
        return own(self, *args, **kwargs)

    ways = {"function": function, "wrapper": functools.wraps(own)(function), "partial": functools.partial(function)}
    assert not is_logged(log)
    monkeypatch.setattr(logging.Logger, name, ways[way])

    assert is_logged(log)


def test_a_logger_of_another_kind(log):
    """A subclass may do with a line what it likes."""

    class Own(logging.Logger):
        def _log(self, *args, **kwargs):
            """Do something else."""

    assert is_logged(Own("own", logging.INFO))


def test_a_record_factory(log, monkeypatch):
    monkeypatch.setattr(logging, "_logRecordFactory", lambda *args, **kwargs: None)

    assert is_logged(log)


@pytest.fixture
def taken_over():
    """As in a worker process."""
    signals.log_what_is_heard()
    yield
    for signal, receiver in signals.RECEIVERS.items():
        signals._taken_over.pop(signal, None)
        signal.connect(receiver)


@pytest.fixture
def levels(log, monkeypatch):
    monkeypatch.setattr(signals, "_levels", signals.LogLevels(log))


class Result:
    id = "1"
    backend = "default"
    status = "RUNNING"

    class task:
        module_path = "a.b"


@pytest.mark.usefixtures("taken_over", "levels")
def test_what_nobody_hears_is_not_heard(log):
    """Neither a receiver nor a handler: nothing need be prepared."""
    assert not signals.is_heard(task_started, Result)
    assert not signals.is_heard(task_finished, Result)
    assert signals.is_heard(task_finished, Result, logging.ERROR)


@pytest.mark.usefixtures("taken_over", "levels")
def test_a_receiver_hears(log):
    """Whatever is logged."""
    heard = []

    def receive(task_result, **kwargs):
        heard.append(task_result)

    task_started.connect(receive)
    try:
        assert signals.is_heard(task_started, Result)
        signals.send(task_started, Result, Result)
    finally:
        task_started.disconnect(receive)
    assert heard == [Result]


@pytest.mark.usefixtures("taken_over", "levels")
def test_what_is_logged_is_djangos_line(log):
    """It is Django's own receiver that writes it; a new handler is noticed in a moment."""
    handler = Handler()
    log.addHandler(handler)
    assert signals.is_heard(task_started, Result)
    before = signals.tasks_logger.level
    signals.tasks_logger.addHandler(handler)
    signals.tasks_logger.setLevel(logging.INFO)
    try:
        signals.send(task_started, Result, Result)
    finally:
        signals.tasks_logger.removeHandler(handler)
        signals.tasks_logger.setLevel(before)

    assert len(handler.lines) == 1
    assert "a.b" in handler.lines[0]


@pytest.mark.usefixtures("taken_over")
def test_a_handler_that_raises_spoils_nothing(monkeypatch, caplog):
    """The receivers of the project hear all the same."""
    heard = []

    def receive(task_result, **kwargs):
        heard.append(task_result)

    def fail(**kwargs):
        raise ConnectionError("the log is away")

    monkeypatch.setitem(signals._taken_over, task_started, fail)
    task_started.connect(receive)
    try:
        signals.send(task_started, Result, Result)
    finally:
        task_started.disconnect(receive)

    assert heard == [Result]
    assert "could not be logged" in caplog.text


def test_what_is_known_of_a_logger_is_known_for_a_moment(log, monkeypatch):
    """A handler that comes later is found soon."""
    now = 100.0
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    levels = signals.LogLevels(log)
    assert not levels.is_logged(logging.INFO)
    log.addHandler(Handler())
    assert not levels.is_logged(logging.INFO)

    now += signals.KNOWN

    assert levels.is_logged(logging.INFO)
