"""Run one claimed job and say how it ended."""

import asyncio
import contextvars
import logging
import math
import threading
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from mainspring import job as machine
from mainspring.brokers.admission import costs_of
from mainspring.brokers.base import Broker
from mainspring.clock import SECOND
from mainspring.compat import TaskContext, task_finished, task_started
from mainspring.conf import Options
from mainspring.current import CurrentJob, make_current
from mainspring.exceptions import BrokerUnavailable, RetryAfter, TimeLimitExceeded
from mainspring.flow.pauses import pause, seconds_to_wait
from mainspring.job import ENDS, Job, State
from mainspring.payload import decode_arguments, encode_result
from mainspring.results import Result, result_of
from mainspring.retries import retry_delay
from mainspring.tasks import Task
from mainspring.worker import signals
from mainspring.worker.time_limits import Run, TimeLimits, interrupt_thread, settle_interruption

logger = logging.getLogger("mainspring.worker")

CUT_OFF = "\n[... cut ...]\n"


@dataclass(frozen=True, slots=True)
class Ran:
    """
    A job as it was claimed, as it is after its attempt, the exception that ended the attempt, if one did, and how
    many seconds the attempt took; `is_refusal` says that the store would not take another outcome in its place.
    """

    claimed: Job
    job: Job
    exception: BaseException | None = None
    seconds: float = 0.0
    is_refusal: bool = False


class Execution:
    """
    Runs claimed jobs of one backend; holds what is the same for all of them.

    `limits` watches the runs that have a time limit; without it nothing is limited.
    """

    def __init__(self, broker: Broker, options: Options, sender: type, limits: TimeLimits | None = None) -> None:
        self.broker = broker
        self.options = options
        self.sender = sender
        self._limits = limits

    def limited(self, job: Job, task: Task, slot: int) -> Run | None:
        """Return the run of a job that has a time limit, which counts from now; None when it has none."""
        timeout = self._setting("timeout", job, task)
        if not timeout or self._limits is None:
            return None
        return Run(job, task, slot, timeout, self._setting("grace", job, task) or 0.0)

    def run(self, job: Job, task: Task, run: Run | None = None) -> Ran:
        """Run the job in this thread. Nothing that the task raises escapes."""
        started_at = self.broker.clock.moment()
        try:
            call, args, kwargs = self._prepare(job, task)
            context = contextvars.copy_context()
            current = _current(job, self.broker.alias, run)
            if run is None:
                value = context.run(_call, current, call, args, kwargs)
            else:
                value = self._run_limited(run, partial(context.run, _call, current, call, args, kwargs))
            return self._succeeded(job, value, started_at)
        except BaseException as exception:
            return self._failed(job, task, _reworded(exception, run), started_at)

    async def arun(self, job: Job, task: Task, run: Run | None = None) -> Ran:
        """Run the job on this event loop; the caller has given it a context of its own."""
        started_at = self.broker.clock.moment()
        try:
            call, args, kwargs = self._prepare(job, task)
            make_current(_current(job, self.broker.alias, run))
            coroutine = call(*args, **kwargs)
            value = await (coroutine if run is None else self._await_limited(run, coroutine))
            return self._succeeded(job, value, started_at)
        except BaseException as exception:
            return self._failed(job, task, _reworded(exception, run), started_at)

    def given_up(self, run: Run, stack: str) -> Ran:
        """Return the job failed because it has taken no notice of its timeout; `stack` is where its code stands."""
        text = f"The job ran longer than its timeout of {run.timeout:g} s and took no notice of being interrupted"
        logger.error("Job %s (%s) failed: %s.", run.job.id, run.job.task_path, text)
        return self._ended_by_limit(run, f"{text}; its process is replaced. Its code stood here:\n{stack}")

    def _ended_by_limit(self, run: Run, text: str) -> Ran:
        job, at = run.job, self.broker.clock.moment()
        exception = TimeLimitExceeded(text)
        error = machine.error_entry(
            _class_path(exception),
            _cut(text, self.options.max_traceback),
            worker_id=job.worker_id,
            attempt=job.attempts + 1,
            started_at=run.started_at,
            finished_at=at,
        )
        return Ran(job, machine.fail(job, error, run.started_at, at), exception, run.timeout)

    def _setting(self, name: str, job: Job, task: Task) -> float | None:
        """Return the task's own time limit or grace, else its queue's, else the options'."""
        own: float | None = getattr(task, name)
        if own is not None:
            return own
        of_queue = self.options.queue_settings.get(job.queue_name)
        if of_queue is not None and name in of_queue:
            found: float | None = of_queue[name]
            return found
        return self.options.timeout if name == "timeout" else self.options.grace

    def _run_limited(self, run: Run, call: Callable[[], Any]) -> Any:
        assert self._limits is not None
        run.started_at = self.broker.clock.moment()
        run.thread_id = threading.get_ident()
        run.interrupt = partial(interrupt_thread, run.thread_id)
        self._limits.begin(run)
        # An interruption can come in any line from `arm` to the end of `settle_interruption`, and nowhere else. One
        # that comes in the very line that disarms has left nothing to settle.
        run.is_late = True
        try:
            run.arm()
            return call()
        finally:
            run.is_late = not run.disarm()
            if run.is_late:
                settle_interruption(run)

    async def _await_limited(self, run: Run, coroutine: Coroutine[Any, Any, Any]) -> Any:
        assert self._limits is not None
        run.started_at = self.broker.clock.moment()
        # A task of its own, so that a cancellation that comes too late meets nothing but what has ended already.
        future = asyncio.ensure_future(coroutine)
        run.interrupt = partial(asyncio.get_running_loop().call_soon_threadsafe, future.cancel)
        run.thread_id, run.future = threading.get_ident(), future
        self._limits.begin(run)
        run.arm()
        try:
            return await future
        finally:
            run.is_late = not run.disarm()

    def refused(self, ran: Ran, reason: BaseException) -> Ran:
        """Return the job failed because the store would not take its outcome."""
        at = self.broker.clock.moment()
        claimed = ran.claimed
        text = f"The task ran, but the store refused its outcome: {_summary(reason)}"
        error = machine.error_entry(
            _class_path(reason), text, worker_id=claimed.worker_id, attempt=claimed.attempts + 1, finished_at=at
        )
        logger.error("Job %s (%s): %s", claimed.id, claimed.task_path, text)
        started_at = ran.job.last_attempted_at or at
        failed = machine.fail(claimed._replace(errors="[]"), error, started_at, at)
        return Ran(claimed, failed, reason, is_refusal=True)

    def not_admitted(self, job: Job, reason: Exception) -> Ran:
        """Return a job failed because nobody could find out whether it may run."""
        at = self.broker.clock.moment()
        text = f"The job has not begun, for what it needs of limits cannot be asked for: {_summary(reason)}"
        error = machine.error_entry(
            _class_path(reason), text, worker_id=job.worker_id, attempt=job.attempts + 1, finished_at=at
        )
        logger.error("Job %s (%s): %s", job.id, job.task_path, text)
        return Ran(job, machine.fail(job, error, at, at), reason)

    def is_awaited(self, ran: Ran) -> bool:
        """Is this the end of a job, and would anybody hear of it?"""
        job = ran.job
        if job.state not in ENDS:
            return False
        level = logging.INFO if job.state == State.SUCCEEDED else logging.ERROR
        return signals.is_heard(task_finished, self.sender, level)

    def announce(self, ran: Ran) -> None:
        """Send `task_finished` for a job whose end has been stored."""
        if not self.is_awaited(ran):
            return
        result = result_of(ran.job, self.broker.alias)
        try:
            # Django's own receiver logs the exception that is being handled, so it has to be. A generator's context
            # manager cannot do this: what it handles is forgotten when it yields.
            if ran.exception is not None:
                raise ran.exception
        except BaseException:
            self._send_finished(result)
        else:
            self._send_finished(result)

    def _send_finished(self, result: Result) -> None:
        try:
            signals.send(task_finished, self.sender, result)
        except BaseException:  # send_robust lets through what is no Exception, and other ends are still to be told
            logger.exception("A receiver of task_finished raised.")

    def _prepare(self, job: Job, task: Task) -> tuple[Any, list[Any], dict[str, Any]]:
        args, kwargs = decode_arguments(job.arguments)
        is_heard = signals.is_heard(task_started, self.sender)
        if is_heard or task.takes_context:
            result = result_of(job, self.broker.alias)
            if is_heard:
                signals.send(task_started, self.sender, result)
            if task.takes_context:
                args = [TaskContext(task_result=result), *args]
        return task.func, args, kwargs

    def _succeeded(self, job: Job, value: Any, started_at: int) -> Ran:
        encoded = encode_result(value, self.options.max_payload)
        at = self.broker.clock.moment()
        return Ran(job, machine.succeed(job, encoded, started_at, at), seconds=(at - started_at) / SECOND)

    def _postponed(self, job: Job, asked: RetryAfter, started_at: int) -> Ran:
        """Put the job back until somebody else will be asked again, and pause the limits that have to do with that."""
        seconds = seconds_to_wait(asked.delay)
        names = [name for name, _ in costs_of(job)] if asked.limit is None else [asked.limit]
        try:
            pause(self.broker, names, seconds)
        except BrokerUnavailable as error:
            logger.error("Limits could not be paused (%s): %s", ", ".join(names), error)
        logger.info("Job %s (%s) runs again in %.1f s, as it was asked to.", job.id, job.task_path, seconds)
        at = self.broker.clock.moment()
        due_at = at + round(seconds * SECOND)
        return Ran(job, machine.postpone(job, due_at), asked, (at - started_at) / SECOND)

    def _failed(self, job: Job, task: Task, exception: BaseException, started_at: int) -> Ran:
        if isinstance(exception, RetryAfter):
            try:
                return self._postponed(job, exception, started_at)
            except ValueError as no_time:
                exception = no_time
        at = self.broker.clock.moment()
        attempt = job.attempts + 1
        error = machine.error_entry(
            _class_path(exception),
            format_traceback(exception, self.options.max_traceback),
            worker_id=job.worker_id,
            attempt=attempt,
            started_at=started_at,
            finished_at=at,
        )
        seconds = (at - started_at) / SECOND
        delay = self._delay_before_retry(task, attempt, exception)
        if delay is None:
            logger.error("Job %s (%s) failed in attempt %d: %s", job.id, job.task_path, attempt, _summary(exception))
            return Ran(job, machine.fail(job, error, started_at, at), exception, seconds)
        logger.warning(
            "Job %s (%s) failed in attempt %d and runs again in %.1f s: %s",
            job.id,
            job.task_path,
            attempt,
            delay,
            _summary(exception),
        )
        due_at = at + round(delay * SECOND)
        return Ran(job, machine.retry(job, error, started_at, at, due_at), exception, seconds)

    def _delay_before_retry(self, task: Task, attempt: int, exception: BaseException) -> float | None:
        try:
            return retry_delay(task, self.options, attempt, exception)
        except BaseException:
            # A backoff callable is user code: its error must not cost the record of the attempt.
            logger.exception("The backoff of task %s raised; the job fails now.", task.module_path)
            return None


def _current(job: Job, backend: str, run: Run | None) -> CurrentJob:
    ends_at = math.inf if run is None else run.ends_at
    return CurrentJob(job.id, backend, job.task_path, job.queue_name, job.attempts + 1, ends_at)


def _call(current: CurrentJob, call: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    make_current(current)
    return call(*args, **kwargs)


def _reworded(exception: BaseException, run: Run | None) -> BaseException:
    """Say which limit was exceeded, of an interruption that the task has let through."""
    if run is None or not run.is_late:
        return exception
    if not isinstance(exception, asyncio.CancelledError | TimeLimitExceeded):
        return exception
    reworded = TimeLimitExceeded(f"The job ran longer than its timeout of {run.timeout:g} s.")
    return reworded.with_traceback(exception.__traceback__)


def format_traceback(exception: BaseException, limit: int) -> str:
    """Return the traceback from the task's own first frame on, its middle cut out where it is longer than `limit`."""
    frames = exception.__traceback__
    while frames is not None and str(frames.tb_frame.f_globals.get("__name__")).startswith("mainspring.worker."):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(exception), exception, frames))
    except Exception as failure:  # an exception whose own __str__ or notes raise
        text = f"{_class_path(exception)} (its traceback cannot be shown: {type(failure).__name__})\n"
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = max((limit - len(CUT_OFF)) // 2, 0)
    return text[:half] + CUT_OFF + text[len(text) - half :]


def _class_path(exception: BaseException) -> str:
    kind = type(exception)
    return f"{kind.__module__}.{kind.__qualname__}"


def _summary(exception: BaseException) -> str:
    try:
        return f"{type(exception).__name__}: {exception}"[:500]
    except Exception:
        return type(exception).__name__
