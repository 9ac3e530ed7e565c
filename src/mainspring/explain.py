"""Why a job does not run: what its store says about it at this moment, for people and for scripts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS

from mainspring import job as machine
from mainspring import outbox
from mainspring.brokers.admission import Level, costs_of
from mainspring.brokers.base import INLINE, Broker, WorkerInfo
from mainspring.brokers.uniqueness import key_behind
from mainspring.clock import SECOND, to_datetime
from mainspring.conf import options_for
from mainspring.exceptions import Superseded, UnknownTask
from mainspring.job import ORDER, Job, State, decode_list
from mainspring.tasks import load_task

COUNTED = 1000  # jobs ahead of one, at most
NAMED = 5  # jobs in one sentence
LISTED = 100  # ids in `data`
LONGEST_ERROR = 300  # characters
LOOKS = 3  # until the job stands still meanwhile
SUPERSEDED = f"{Superseded.__module__}.{Superseded.__qualname__}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    Why a job does not run, or what has become of it.

    `code` is one short word for scripts, `text` one or two sentences for people, `data` what stands in them: ids,
    names, numbers, and times as ISO 8601 in UTC. docs/how-to/flow-control.md lists the codes.
    """

    code: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


class Explained(NamedTuple):
    """A job as it was found, None if it was not, and what there is to say about it."""

    job: Job | None
    explanation: Explanation


def explain(broker: Broker, id: str, databases: Sequence[str] = (DEFAULT_DB_ALIAS,)) -> Explanation:
    """
    Return why the job with this id does not run; of one that nobody knows, the code is "unknown_id".

    `databases` are those in whose outboxes it is looked for. Nothing is locked, changed or remembered. Raise
    BrokerUnavailable when the store cannot be reached.
    """
    return look(broker, id, databases).explanation


def look(broker: Broker, id: str, databases: Sequence[str] = (DEFAULT_DB_ALIAS,)) -> Explained:
    """Do as `explain`, and return the job as well."""
    job = broker.get(id)
    if job is None and (unsent := outbox.find_unsent(broker, id, databases)) is not None:
        return Explained(unsent.job, _unsent(broker, unsent))
    job = job or broker.get(id)  # it may have been sent between the two looks
    for _ in range(LOOKS):
        if job is None:
            return Explained(None, _unknown(broker, id))
        found = Case(broker, job).explanation()
        job, before = broker.get(id), job
        if job == before:
            break
    return Explained(before, found)


def _unknown(broker: Broker, id: str) -> Explanation:
    text = (
        f"TASKS[{broker.alias!r}] has no job {id!r:.100}: it was never enqueued there, its transaction was rolled"
        " back or has not ended, or it ended so long ago that it was deleted."
    )
    return Explanation("unknown_id", text, {"id": id, "backend": broker.alias})


def _unsent(broker: Broker, found: outbox.Unsent) -> Explanation:
    data = {"database": found.database, "is_committed": found.is_committed}
    if not found.is_committed:
        text = f"It is sent when the transaction of DATABASES[{found.database!r}] commits in which it was enqueued."
        return Explanation("unsent", text, data)
    text = f"It is committed in the outbox of DATABASES[{found.database!r}]; "
    if Crew.of(broker).living:
        return Explanation(
            "unsent", f"{text}a worker sends it with its next sweep, which comes every few seconds.", data
        )
    return Explanation("unsent", f"{text}a worker would send it, but none lives. {_start(broker)}", data)


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers that a store knows, at the moment `now` of that."""

    workers: list[WorkerInfo]
    now: int
    lease: float  # of those that do not say after how many seconds of silence they count as dead

    @classmethod
    def of(cls, broker: Broker) -> "Crew":
        return cls(broker.workers(), broker.now(), options_for(broker.alias).rescue_after)

    @property
    def living(self) -> list[WorkerInfo]:
        return [worker for worker in self.workers if self.lives(worker)]

    def lives(self, worker: WorkerInfo) -> bool:
        return (self.now - worker.beat_at) / SECOND < self.lease_of(worker)

    def lease_of(self, worker: WorkerInfo) -> float:
        lease = worker.facts.get("rescue_after")
        return lease if isinstance(lease, int | float) else self.lease

    def taking(self) -> list[WorkerInfo]:
        """Return the living that take new jobs, or have another process take those that run alone."""
        return [each for each in self.living if not each.facts.get("alone") and not each.facts.get("stopping")]


class Case:
    """One stored job, and what is asked about it."""

    def __init__(self, broker: Broker, job: Job) -> None:
        self._broker = broker
        self._job = job

    @cached_property
    def _crew(self) -> Crew:
        return Crew.of(self._broker)

    @cached_property
    def _now(self) -> int:
        return self._broker.now()

    def explanation(self) -> Explanation:
        ways: dict[str, Callable[[], Explanation]] = {
            State.DEFERRED: self._deferred,
            State.READY: self._ready,
            State.PARKED: self._parked,
            State.WAITING: self._behind_twin,
            State.RUNNING: self._running,
            State.SUCCEEDED: partial(self._ended, "It succeeded"),
            State.FAILED: partial(self._ended, "It failed"),
            State.CANCELLED: partial(self._ended, "It was cancelled before it ran,"),
            State.EXPIRED: partial(self._ended, "It expired before it ran,"),
            State.DISCARDED: self._discarded,
            State.QUARANTINED: self._quarantined,
        }
        way = ways.get(self._job.state)
        if way is None:
            return Explanation("unknown_state", f"Its state is {self._job.state!r}, which this version does not know.")
        if self._job.state in machine.IDLE and self._broker.is_hidden(self._job.id):
            text = "It was enqueued in a transaction that has not ended, so no worker can see it yet."
            return Explanation("uncommitted", text, {"database": self._broker.using})
        return way()

    # It runs, or has ended.

    def _running(self) -> Explanation:
        job = self._job
        worker = next((each for each in self._crew.workers if each.id == job.worker_id), None)
        data = {
            "worker_id": job.worker_id,
            "since": _iso(job.last_attempted_at),
            "attempt": job.attempts + 1,
            "attempts": job.attempts,
            "crashes": job.crashes,
            "interruptions": job.interruptions,
        }
        if job.worker_id == INLINE:
            return Explanation("running", f"It runs in the process that drains the queue{self._attempt()}", data)
        if worker is not None and self._crew.lives(worker):
            return Explanation("running", f"It runs on worker {job.worker_id}{self._attempt()}", data)
        known = "is not known any more" if worker is None else f"has been silent since {_at(worker.beat_at)}"
        takes_back = "the others take it back, and it runs again." if self._crew.living else self._no_worker().text
        return Explanation("lost", f"Its worker {job.worker_id} {known}; {takes_back}", data)

    def _attempt(self) -> str:
        return f" since {_at(self._job.last_attempted_at)}: attempt {self._job.attempts + 1}."

    def _ended(self, how: str) -> Explanation:
        job, error = self._job, self._last_error()
        attempts = f", after {_number(job.attempts, 'attempt')}" if job.attempts else ""
        reason = f": {error['text']}" if error and job.state == State.FAILED else ""
        data = self._end() | ({"error": error} if error else {})
        return Explanation(str(job.state), f"{how} at {_at(job.finished_at)}{attempts}{reason or '.'}", data)

    def _quarantined(self) -> Explanation:
        times, at = _number(self._job.crashes, "time"), _at(self._job.finished_at)
        text = f"Its worker died under it {times}, as often as it may, so it was quarantined at {at}."
        return Explanation("quarantined", text, self._end() | {"error": self._last_error()})

    def _discarded(self) -> Explanation:
        error = self._last_error()
        if error is None or error["class"] != SUPERSEDED:
            return self._ended("It was discarded")
        other = error["job_id"] or self._holder_of_key()
        name = f"Job {other}" if other else "Another job"
        text = f"{name} with the same unique key does its work, so it was discarded at {_at(self._job.finished_at)}."
        return Explanation("superseded", text, self._end() | {"by": other})

    def _holder_of_key(self) -> str | None:
        """Return the id of the job that has the unique key now, if it has not ended as well."""
        if self._job.unique_key is None:
            return None
        keys = [machine.key_of(self._job.unique_key) or "", key_behind(self._job)]
        found = self._broker.holders(keys)
        return next((found[key].id for key in keys if key in found), None)

    def _end(self) -> dict[str, Any]:
        job = self._job
        return {"finished_at": _iso(job.finished_at), "attempts": job.attempts, "crashes": job.crashes}

    def _last_error(self) -> dict[str, Any] | None:
        entry = next((each for each in reversed(decode_list(self._job.errors)) if isinstance(each, dict)), None)
        if entry is None:
            return None
        lines = str(entry.get("traceback", "")).strip().splitlines() or [""]
        name = str(entry.get("exception_class_path", ""))
        return {"class": name, "text": (lines[-1] or name)[:LONGEST_ERROR], "job_id": entry.get("job_id")}

    # It waits for a moment.

    def _deferred(self) -> Explanation:
        job, error = self._job, self._last_error()
        data: dict[str, Any] = {"due_at": _iso(job.due_at), "attempts": job.attempts}
        if (job.due_at or 0) <= self._now:
            return self._due(data)
        if not job.attempts or error is None:
            return Explanation("deferred", f"It is deferred, and due at {_at(job.due_at)}.", data)
        text = f"Attempt {job.attempts} ended in an error, and the next is due at {_at(job.due_at)}: {error['text']}"
        return Explanation("retry", text, data | {"error": error})

    def _due(self, data: dict[str, Any]) -> Explanation:
        if not self._crew.taking():
            return self._no_worker()
        return Explanation("due", f"It fell due at {_at(self._job.due_at)}; a worker is about to line it up.", data)

    # It is ready.

    def _ready(self) -> Explanation:
        job, taking = self._job, self._crew.taking()
        if not taking:
            return self._no_worker()
        serving = [worker for worker in taking if _serves(worker, job.queue_name)]
        if not serving:
            return self._no_queue(taking)
        return self._no_task(serving) or self._in_line(serving)

    def _no_worker(self) -> Explanation:
        stopping = " that is not about to stop" if self._crew.living else ""
        return Explanation("no_worker", f"No worker lives{stopping}, so nobody runs it. {_start(self._broker)}")

    def _no_queue(self, taking: Sequence[WorkerInfo]) -> Explanation:
        name = self._job.queue_name
        served = sorted({str(queue) for worker in taking for queue in worker.facts["queues"]})
        text = f"No living worker serves the queue {name!r}, only {', '.join(map(repr, served)) or 'none at all'}."
        way_out = f"Start one with `--queues {name}`, or add it to what they serve."
        return Explanation("queue_not_served", f"{text} {way_out}", {"queue": name, "served": served})

    def _no_task(self, serving: Sequence[WorkerInfo]) -> Explanation | None:
        """Say why none of these workers runs the task; None if one of them does, as far as they have said."""
        path = self._job.task_path
        left_alone = [worker.id for worker in serving if path in _listed(worker, "left_alone")]
        try:
            task = load_task(path, options_for(self._broker.alias).task_modules)
        except UnknownTask as error:
            data = {"task": path, "reason": str(error), "workers": left_alone[:LISTED], "serving": len(serving)}
            found = (
                f"{len(left_alone)} of {_number(len(serving), 'worker process', 'es')} that could run it say the same"
            )
            return Explanation("unknown_task", f"Its task is not known here, and {found}. {error}", data)
        if len(left_alone) == len(serving):
            text = (
                f"No living worker that serves the queue {self._job.queue_name!r} can import {path!r:.300}, though"
                " this process can. Give them this code; they try again every minute, and log what is wrong."
            )
            return Explanation("task_not_served", text, {"task": path, "workers": left_alone[:LISTED]})
        kind, option = ("async", "async") if iscoroutinefunction(task.func) else ("sync", "threads")
        if all(worker.facts.get(option) == 0 for worker in serving):
            text = f"Its task is {kind}, and every living worker that serves the queue has `--{option} 0`."
            way_out = f"Start one with another number in `--{option}`."
            return Explanation("task_not_served", f"{text} {way_out}", {"task": path, "kind": kind})
        return None

    def _in_line(self, serving: Sequence[WorkerInfo]) -> Explanation:
        job = self._job
        found = self._broker.ahead(job, COUNTED + 1)
        number = f"more than {COUNTED:,} jobs" if found > COUNTED else _number(found, "job")
        ahead = f"{number} {'stands' if found == 1 else 'stand'} before it" if found else "it is next"
        data = {"ahead": min(found, COUNTED), "is_more": found > COUNTED, "workers": len(serving)}
        if job.crashes:
            text = (
                f"Its worker died under it {_number(job.crashes, 'time')}, so it waits to run alone in a process that"
                f" a worker starts for it; in this line of the queue {job.queue_name!r} {ahead}."
            )
            return Explanation("alone", text, data | {"crashes": job.crashes})
        crew = f"{_number(len(serving), 'worker process', 'es')} serve{'s' * (len(serving) == 1)} that"
        return Explanation("ready", f"It is ready, and in the queue {job.queue_name!r} {ahead}; {crew}.", data)

    # It is parked.

    def _parked(self) -> Explanation:
        name = self._job.parked_under or ""
        if machine.awaits_rank(self._job):
            return self._no_worker() if not self._crew.taking() else self._fair(name)
        return self._behind_head(name) if name == self._job.order_key else self._limited(name)

    def _fair(self, name: str) -> Explanation:
        key = name.partition(":=")[2]
        text = (
            f"A worker is about to give it its place in line, beside the jobs of other fair keys; its own is {key!r}."
        )
        return Explanation("fair", text, {"key": key})

    def _behind_head(self, name: str) -> Explanation:
        id, key = self._broker.head(name), name.removeprefix(ORDER)
        head = None if id in (None, self._job.id) else self._broker.get(str(id))
        data = {"key": key, "behind": head and head.id, "behind_state": head and str(head.state)}
        if head is None:
            return Explanation("order", f"It is about to get its turn under the key {key!r}.", data)
        text = f"Jobs with the key {key!r} run one after the other, and it is the turn of job {head.id}: {head.state}."
        hint = "" if head.state == State.RUNNING else " Ask why that one does not run."
        return Explanation("order", f"{text}{hint}", data)

    def _limited(self, name: str) -> Explanation:
        job, level = self._job, self._broker.level(name) or Level()
        data: dict[str, Any] = {"limit": name, "cost": dict(costs_of(job)).get(name, 1)}
        if level.paused_until > self._now:
            return self._paused(name, level.paused_until, data)
        if job.due_at is None:
            return self._full(name, level, data)
        data |= {"due_at": _iso(job.due_at), "rate": level.rate and str(level.rate)}
        if job.due_at <= self._now:
            return self._due(data)
        rate = f" ({level.rate})" if level.rate else ""
        text = f"Limit {name!r} has let as many start as its rate allows{rate}; its turn comes at {_at(job.due_at)}."
        return Explanation("limit_rate", text, data)

    def _paused(self, name: str, until: int, data: dict[str, Any]) -> Explanation:
        end = _iso(until)
        text = f"Limit {name!r} is paused until {'somebody lets it go on' if end is None else _at(until)}."
        return Explanation("limit_paused", text, data | {"paused_until": end})

    def _full(self, name: str, level: Level, data: dict[str, Any]) -> Explanation:
        holders = self._broker.holding(name)
        room = "" if level.concurrency is None else f" of {level.concurrency:,}"
        wants = "" if data["cost"] == 1 else f", and it wants {data['cost']:,}"
        held = f"{level.held:,}{room} {'is' if level.held == 1 else 'are'} held by {_names(holders)}"
        data |= {"concurrency": level.concurrency, "held": level.held, "holding": holders[:LISTED]}
        return Explanation("limit_full", f"Limit {name!r} has no room for it: {held}{wants}.", data)

    # It waits behind another.

    def _behind_twin(self) -> Explanation:
        key = machine.key_of(self._job.unique_key) or ""
        holder = self._broker.holders([key]).get(key)
        if holder is None:
            again = f"no later than {_at(self._job.due_at)}"
            text = f"The job with the same unique key that it waited for has ended; it goes on {again}."
            return Explanation("unique", text, {"behind": None, "due_at": _iso(self._job.due_at)})
        text = f"It waits for the end of job {holder.id}, which has the same unique key: {holder.state}."
        return Explanation("unique", text, {"behind": holder.id, "behind_state": str(holder.state)})


def _start(broker: Broker) -> str:
    """Return a sentence that says how to have jobs run."""
    if not broker.is_shared:
        return (
            f"Its jobs are in the memory of this process, where mainspring.testing.drain({broker.alias!r}) runs them."
        )
    return f"Start one: `manage.py mainspring worker --backend {broker.alias}`."


def _serves(worker: WorkerInfo, queue_name: str) -> bool:
    """Does a worker serve this queue? One that serves all, or is of a version that does not say, has no list."""
    queues = worker.facts.get("queues")
    return not isinstance(queues, list) or queue_name in queues


def _listed(worker: WorkerInfo, fact: str) -> list[Any]:
    value = worker.facts.get(fact)
    return value if isinstance(value, list) else []


def _number(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return (
        f"{'job' if len(ids) == 1 else 'jobs'} {', '.join(ids[:NAMED])}{more}" if ids else "jobs that have just ended"
    )


def _iso(moment: int | None) -> str | None:
    """Return a moment for scripts; None also for what is no date."""
    try:
        value = to_datetime(moment)
    except ValueError:
        return None
    return None if value is None else value.isoformat()


def _at(moment: int | None) -> str:
    """Return a moment for people."""
    try:
        value = to_datetime(moment)
    except ValueError:
        return f"a moment that is no date ({moment})"
    return "an unknown time" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"
