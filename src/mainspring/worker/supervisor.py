"""The supervisor of one `worker` command: it keeps processes alive, beats for them, and wakes them when work comes."""

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mainspring.worker.child_process import ChildProcess
from mainspring.worker.children import Children
from mainspring.worker.files import FileWatch, loaded_files, wait_for_change
from mainspring.worker.lifelines import Lifelines
from mainspring.worker.memory import used_percent
from mainspring.worker.plan import Plan
from mainspring.worker.program import become, end_when_told
from mainspring.worker.titles import Title

if TYPE_CHECKING:
    from mainspring.brokers.base import Broker, Listener

logger = logging.getLogger("mainspring.worker")

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_FORCED = 130

GRACE = 1.0  # seconds beyond the shutdown time until a child that does not end is killed
SAY_AGAIN_AFTER = 30.0  # seconds between two lines that say what is waited for
LOOK_AT_FILES_EVERY = 1.0
WEIGH_EVERY = 5.0
LONGEST_WAIT = 2.0  # seconds that a locked or silent store may hold a supervisor up, which has signals to heed


class Supervisor:
    """Single-threaded, and without the project's apps: nothing that a task does can stop its beat."""

    def __init__(self, plan: Plan, broker: "Broker") -> None:
        from mainspring.worker.caretaker import Caretaker
        from mainspring.worker.questions import Questions

        self._plan = plan
        self._options = plan.options
        self._broker = broker
        self._selector = selectors.DefaultSelector()
        lifelines = Lifelines(broker.lifeline_folder)
        lifelines.clean()
        self._children = Children(plan, self._selector, lifelines, self._started, self._died, self._heard)
        self._questions = Questions(broker, self._children)
        self._caretaker = Caretaker(broker, self._options, self._children, lifelines, self._questions.ask, plan.queues)
        self._files = FileWatch()
        if plan.reloads:
            self._files.add(_own_files())  # now: what changes before a process has listed its own would be missed
        self._files_at = self._weighed_at = time.monotonic()
        self._listener: Listener | None = None
        self._has_said_deaf = False
        self._signals: list[int] = []
        self._stops_by: float | None = None
        self._is_forced = False
        self._is_refused = False
        self.runs_again = False  # with the settings as they are now

    def run(self) -> int:
        """Supervise until told to stop; return the exit code."""
        self._catch_signals()
        self._wait_for_store()
        while not self._is_over():
            self._children.start_missing(has_alone=self._caretaker.has_alone)
            self._listen()
            self._select(min([self._tick(), *self._pauses()]))
            self._heed_signals()
            self._children.reap()
            self._children.end_overrun()
            self._children.tell_again()
            self._questions.tick()
            self._look_at_files()
            self._weigh()
            self._kill_the_late()
        return self._end()

    # Starting.

    def _wait_for_store(self) -> None:
        from mainspring.exceptions import BrokerUnavailable

        said_at = 0.0
        while self._stops_by is None:
            try:
                return self._broker.check()
            except BrokerUnavailable as error:
                if time.monotonic() - said_at >= SAY_AGAIN_AFTER or not said_at:
                    said_at = time.monotonic()
                    logger.warning("Waiting to start: %s", error)
            self._select(1.0)
            self._heed_signals()

    def _listen(self) -> None:
        from mainspring.exceptions import BrokerUnavailable

        if self._listener is not None:
            return
        try:
            self._listener = self._broker.listen()
        except BrokerUnavailable as error:
            self._say_deaf(f"Listening for work is not possible; until it is, each beat looks for some. {error}")
            return
        self._has_said_deaf = False
        fileno = self._listener.fileno()
        if fileno is not None:
            self._selector.register(fileno, selectors.EVENT_READ, self._listener)

    # The duties.

    def _tick(self) -> float:
        from mainspring.exceptions import WrongSite

        if self._is_refused:
            return GRACE
        try:
            return self._caretaker.tick()
        except WrongSite as error:
            logger.error("%s", error)
            self._is_refused = True
            self._begin_to_stop("Refused")
            return 0.0

    def _started(self, worker: Any) -> None:
        self._caretaker.beat_soon()

    def _died(self, death: Any) -> None:
        self._caretaker.bury(death)

    def _heard(self, child: ChildProcess, message: dict[str, Any]) -> None:
        if "deferred" in message:
            self._caretaker.expect(message["deferred"])
        if "files" in message:
            self._files.add(message["files"], message["folders"])
        if "over" in message and child.plan.is_alone:
            # It has found no more: what the last beat said of such jobs would start another in vain.
            self._caretaker.has_alone = False
            self._caretaker.beat_soon()
        if "left_alone" in message:
            self._caretaker.beat_soon()  # so that whoever asks why a job waits is told
        if "question" in message:
            self._questions.answer(message["question"], message["answer"])

    def _look_at_files(self) -> None:
        """Start the processes again when the code has changed, and this one when the settings have."""
        if self._stops_by is not None or not self._plan.reloads:
            return
        if time.monotonic() < self._files_at + LOOK_AT_FILES_EVERY:
            return
        self._files_at = time.monotonic()
        changed = self._files.changed()
        if changed is None:
            self._children.list_files()
            return
        logger.info("%s has changed: running jobs finish, then the new code runs.", changed)
        if changed in _own_files():
            self.runs_again = True
            self._begin_to_stop("New settings")
        else:
            self._children.reload()

    def _weigh(self) -> None:
        """Replace the largest process when the machine's memory runs out."""
        limit = self._options.max_memory_percent
        if limit is None or time.monotonic() < self._weighed_at + WEIGH_EVERY:
            return
        self._weighed_at = time.monotonic()
        used = used_percent()
        if used is not None and used > limit:
            self._children.replace_largest(f"The machine uses {used:.0f} % of its memory, more than {limit} %")

    # Waiting.

    def _pauses(self) -> list[float]:
        if self._stops_by is not None:
            left = self._stops_by + GRACE - time.monotonic()
            pauses = [left if left > 0 else GRACE]
        else:
            pauses = [self._children.next_start()] if self._children.is_short() else []
            pauses += [self._files_at + LOOK_AT_FILES_EVERY - time.monotonic()] if self._plan.reloads else []
        if self._listener is not None:
            pauses.append(self._listener.interval)
        return [*pauses, *self._questions.pauses()]

    def _select(self, pause: float) -> None:
        for key, _ in self._selector.select(max(pause, 0.0)):
            if isinstance(key.data, ChildProcess):
                self._children.hear(key.data)
            elif key.data is not None:
                self._answer_call(key.data)
            else:
                self._wakeup_near.recv(4096)
        # Also one that has a file: it looks once more after each wake-up, for the sake of those that were held back.
        listener = self._listener
        if listener is not None and (listener.fileno() is None or listener.interval <= 0) and self._check_news():
            self._children.wake()

    def _answer_call(self, listener: "Listener") -> None:
        if listener.hears_calls:
            self._children.wake()  # before what has come is read, which takes time
            self._check_news()
        elif self._check_news():
            self._children.wake()

    def _check_news(self) -> bool:
        from mainspring.exceptions import BrokerUnavailable

        assert self._listener is not None
        try:
            if self._listener.has_news():
                self._caretaker.expect(0)
                return True
        except BrokerUnavailable as error:
            self._say_deaf(f"Listening for work was cut off; it is taken up again. {error}")
            self._close_listener()
        return False

    def _say_deaf(self, message: str) -> None:
        """Say it once; not while the store is away, which the caretaker says."""
        if not (self._has_said_deaf or self._caretaker.is_away):
            logger.warning("%s", message)
            self._has_said_deaf = True

    def _close_listener(self) -> None:
        if self._listener is None:
            return
        for key in list(self._selector.get_map().values()):
            if key.data is self._listener:
                self._selector.unregister(key.fileobj)
        self._listener.close()
        self._listener = None

    # Stopping.

    def _catch_signals(self) -> None:
        self._wakeup_near, far = socket.socketpair()
        self._wakeup_near.setblocking(False)
        far.setblocking(False)
        self._wakeup_far = far
        signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeup_near, selectors.EVENT_READ, None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # so that a death ends the wait at once

    def _heed_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGHUP:
                self._roll()
            elif self._stops_by is None:
                self._begin_to_stop(signal.Signals(number).name)
            elif self.runs_again:
                logger.info("%s: stopping, and not starting again.", signal.Signals(number).name)
                self.runs_again = False
            else:
                logger.warning("Second %s: ending now.", signal.Signals(number).name)
                self._is_forced = True

    def _roll(self) -> None:
        if self._stops_by is None:
            logger.info("SIGHUP: each process is replaced by one with the code as it is now.")
            self._children.roll()

    def _begin_to_stop(self, name: str) -> None:
        if self._stops_by is not None:
            return
        within = self._options.shutdown_timeout
        logger.info("%s: stopping; running jobs may finish within %g s.", name, within)
        self._stops_by = time.monotonic() + within
        self._children.stop(within)
        self._caretaker.beat_soon()  # so that others know, should this process be killed before it is done

    def _kill_the_late(self) -> None:
        is_late = self._stops_by is not None and time.monotonic() >= self._stops_by + GRACE
        if is_late or self._is_forced:
            self._children.kill()

    def _is_over(self) -> bool:
        if not self._children.is_done:
            return False
        if not self._caretaker.is_settled:
            self._tick()
        if self._stops_by is not None:
            return True
        if not self._caretaker.is_settled:
            return False
        if not self._caretaker.has_alone:
            # Nothing more is ready but what runs alone, and that shows in a beat.
            self._caretaker.beat_soon()
            self._tick()
        return not self._children.needs_alone(self._caretaker.has_alone)

    def _end(self) -> int:
        self._caretaker.leave()
        if self.runs_again:
            self._heed_signals()  # the program that takes over would know nothing of them
        self._close_listener()
        if self._children.unannounced:
            logger.warning("No process was left to announce the end of %d jobs.", len(self._children.unannounced))
        if self._is_forced:
            self.runs_again = False
        logger.info("Starting again." if self.runs_again else "Stopped.")
        if self._is_refused:
            return EXIT_REFUSED
        return EXIT_FORCED if self._is_forced else EXIT_DONE


def _own_files() -> set[str]:
    """Return the files that this process itself has loaded: the settings, and what they import."""
    return set(loaded_files())


def main(arguments: Sequence[str]) -> int:
    """
    Run as `python -m mainspring.worker.supervisor PLAN [again]`, in place of the process that was `manage.py`.

    With `again` it has replaced itself because the settings changed, and waits for them to be right.
    """
    end_when_told()
    try:
        supervisor = _prepare(arguments[0])
    except Exception as error:
        if "again" not in arguments:
            raise
        wait_for_change(error)
        _run_again(arguments[0])
    code = supervisor.run()
    if supervisor.runs_again:
        _run_again(arguments[0])
    return code


def _run_again(plan_text: str) -> NoReturn:
    become(["-m", "mainspring.worker.supervisor", plan_text, "again"])


def _prepare(plan_text: str) -> Supervisor:
    import django
    from django.conf import settings

    # The project's apps are its code; a supervisor that never runs it cannot be stopped by it.
    settings.INSTALLED_APPS = ["mainspring"]
    django.setup()

    from mainspring.backends import make_broker
    from mainspring.worker.terminal import log_to_terminal

    log_to_terminal()
    plan = Plan.from_json(plan_text)
    broker = make_broker(plan.backend, plan.database)
    broker.limit_waits(min(LONGEST_WAIT, plan.options.rescue_after / 10))
    logger.info("Worker %d of backend %r serves %s.", os.getpid(), plan.backend, describe(plan))
    Title(f"mainspring {plan.backend}: supervisor of {plan.options.processes}")
    return Supervisor(plan, broker)


def describe(plan: Plan) -> str:
    """Return in one line what a plan serves, and what it needs."""
    options = plan.options
    queues = "every queue" if plan.queues is None else f"queues {', '.join(plan.queues)}"
    return (
        f"{queues} with {options.processes} process(es), each with {options.threads} threads and up to "
        f"{options.async_jobs} async jobs; it may need {plan.connections} database connections"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
