"""What clients do with jobs; for processes that have Django set up."""

import json
import time
from collections.abc import Collection, Sequence
from typing import Any

AT_ONCE = 1000


def broker() -> Any:
    from mainspring.compat import task_backends

    return task_backends["default"].broker


def task(name: str) -> Any:
    from benchmarks.project import tasks

    return getattr(tasks, name)


def enqueue(name: str, number: int, arguments: Sequence[Any] = ()) -> None:
    """Enqueue so many calls of one task, a thousand at once."""
    from mainspring import enqueue_many

    for start in range(0, number, AT_ONCE):
        enqueue_many(task(name), [tuple(arguments)] * min(AT_ONCE, number - start))


def run_one(name: str = "noop") -> None:
    """Enqueue one call and wait until it has run, so that everything on its way has been loaded once."""
    task(name).enqueue().get(timeout=30)


def wait_until_done() -> None:
    """Return when no job is live, as seen from here."""
    from mainspring.job import LIVE

    while broker().search(states=LIVE, limit=1):
        time.sleep(0.05)


def are_left() -> bool:
    from mainspring.job import LIVE

    return bool(broker().search(states=LIVE, limit=1))


def have_ended(ids: Collection[str]) -> bool:
    from mainspring.job import ENDS

    return all(broker().get(id).state in ENDS for id in ids)


def succeeded_since(moment: int) -> int:
    """Return how many jobs have succeeded at this moment (microseconds since the epoch) or later."""
    return sum(count.number for count in broker().counts(moment) if count.state == "succeeded")


def results(ids: Collection[str]) -> dict[str, Any]:
    """Return what these jobs have returned, when all of them have ended."""
    found = {}
    for id in ids:
        job = broker().wait_for(id, 30)
        assert job.state == "succeeded", f"job {id} is {job.state}: {job.errors}"
        found[id] = json.loads(job.result)
    return found


def clear() -> None:
    """Delete every job at once, whatever its state."""
    from django.db import connections

    here = broker()
    if here.using is None:
        keys = here._client.keys
        here._client.command("DEL", *(getattr(keys, name) for name in ("jobs", "claims", "ready", "alone")))
        here._client.command("DEL", keys.deferred, keys.ended, keys.by_id)
        return
    connection = connections[here.using]
    with connection.cursor() as cursor:
        for table in ("mainspring_job", "mainspring_finished"):
            cursor.execute(f"{'DELETE FROM' if connection.vendor == 'sqlite' else 'TRUNCATE TABLE'} {table}")
