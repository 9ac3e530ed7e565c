"""Time limits: a run that lasts too long is interrupted, and given up when it takes no notice of that."""

import asyncio
import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable

from mainspring.exceptions import TimeLimitExceeded
from mainspring.job import Job
from mainspring.tasks import Task

logger = logging.getLogger("mainspring.worker")

SOON = 0.001  # seconds; until a run that is just about to begin, or to end, has done so


class Run:
    """
    One run of a job whose time is limited to `timeout` seconds, and `grace` seconds more to take notice.

    Two things happen at most once, whoever comes first, and popping from a list decides it: the run is interrupted
    or its code ends, and its outcome is written by itself or by who has given it up.
    """

    def __init__(self, job: Job, task: Task, slot: int, timeout: float, grace: float) -> None:
        self.job = job
        self.task = task
        self.slot = slot
        self.timeout = timeout
        self.started_at = 0
        self.ends_at = time.monotonic() + timeout
        self.gives_up_at = self.ends_at + grace
        self.interrupt: Callable[[], object] = lambda: None
        self.thread_id = 0  # of the thread that executes its code
        self.future: asyncio.Future[object] | None = None  # of an async run
        self.was_interrupted = False  # the interruption has been sent
        self.is_late = False  # its code has ended, after an interruption or into one
        self.is_given_up = False  # and all that belongs to this has been done
        self._interruptible: list[None] = []
        self._outcomes = [None]

    def arm(self) -> None:
        """From here on the run may be interrupted."""
        self._interruptible.append(None)

    def disarm(self) -> bool:
        """Return True if the run has not been interrupted and now never will be."""
        return _pop(self._interruptible)

    def conclude(self) -> bool:
        """Return True to the one who is to write the outcome."""
        return _pop(self._outcomes)

    def next_at(self) -> float:
        return self.gives_up_at if self.was_interrupted else self.ends_at


class TimeLimits:
    """
    Watches the runs of one process that have a limit, from a thread of its own that starts with the first of them.

    `on_given_up` is called, in that thread, for a run that has taken no notice; its outcome is then the caller's to
    write.
    """

    def __init__(self, on_given_up: Callable[[Run], None]) -> None:
        self._on_given_up = on_given_up
        self._runs: set[Run] = set()
        self._changed = threading.Condition()
        self._wakes_at = -math.inf
        self._thread: threading.Thread | None = None

    def begin(self, run: Run) -> None:
        """Watch this run; nothing happens to it before it is armed."""
        self._runs.add(run)
        if run.ends_at < self._wakes_at or self._thread is None:
            with self._changed:
                self._start_thread()
                self._changed.notify()

    def end(self, run: Run) -> bool:
        """
        Watch a run no longer whose code has ended; return True if its outcome is the caller's to write.

        Otherwise it has been given up, and whoever did that is done: its slot can be used again.
        """
        self._runs.discard(run)
        if run.conclude():
            return True
        while not run.is_given_up:
            time.sleep(SOON)
        return False

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="mainspring-limits", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while True:
            now = time.monotonic()
            for run in list(self._runs):
                try:
                    self._enforce(run, now)
                except Exception:  # its loop is closed, say; the supervisor ends the process if nothing else does
                    logger.exception("The time limit of job %s could not be enforced.", run.job.id)
            with self._changed:
                # First this: who begins a run after the next line then sees that it has to call us.
                self._wakes_at = math.inf
                self._wakes_at = min([run.next_at() for run in list(self._runs)], default=math.inf)
                pause = None if self._wakes_at == math.inf else max(self._wakes_at - time.monotonic(), SOON)
                self._changed.wait(pause)

    def _enforce(self, run: Run, now: float) -> None:
        if not run.was_interrupted:
            if now >= run.ends_at and run.disarm():
                try:
                    run.interrupt()
                finally:
                    run.was_interrupted = True
        elif now >= run.gives_up_at:
            self._runs.discard(run)
            if run.conclude():
                try:
                    self._on_given_up(run)
                finally:
                    run.is_given_up = True


def interrupt_thread(thread_id: int) -> None:
    """Raise TimeLimitExceeded in a thread, as soon as it executes Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(TimeLimitExceeded))


def settle_interruption(run: Run) -> None:
    """
    Wait, in the thread of a run that could not be disarmed, until its interruption is certainly over.

    It may have been raised in the task's code already, or come only now; afterwards nothing is on its way any more,
    and the thread's own bookkeeping and the next job are safe from it.
    """
    try:
        while not run.was_interrupted:
            time.sleep(SOON)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
    except TimeLimitExceeded:
        return


def _pop(tokens: list[None]) -> bool:
    try:
        tokens.pop()
    except IndexError:
        return False
    return True
