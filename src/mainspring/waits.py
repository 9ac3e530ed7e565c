"""The waits of async code for the ends of jobs: a few threads that are told, so that nobody blocks the event loop."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from mainspring.brokers.base import Broker
from mainspring.job import Job, State

MOST = 8  # at once in one process; each takes a thread and, on a server, two database connections
SLICE = 2.0  # seconds; how long a thread may go on after whoever waited has gone

_room: threading.Semaphore
_threads: ThreadPoolExecutor


async def wait_for(broker: Broker, id: str, timeout: float) -> Job | None:
    """
    Do as the broker's `wait_for`; return None at once when MOST others wait.

    A wait that is cancelled takes up its room until its thread notices, at most SLICE seconds later.
    """
    room = _room
    if not room.acquire(blocking=False):
        return None
    is_over = threading.Event()
    wait = _threads.submit(_wait, broker, id, time.monotonic() + timeout, is_over)
    wait.add_done_callback(lambda _: room.release())
    try:
        return await asyncio.wrap_future(wait)
    finally:
        is_over.set()


def _wait(broker: Broker, id: str, deadline: float, is_over: threading.Event) -> Job | None:
    try:
        while True:
            left = deadline - time.monotonic()
            job = broker.wait_for(id, min(max(left, 0.0), SLICE))
            if job is None or State(job.state).is_end or left <= SLICE or is_over.is_set():
                return job
    finally:
        broker.close()


def _make_room() -> None:
    global _room, _threads
    _room = threading.Semaphore(MOST)
    # Apart from the event loop's own threads, which others need.
    _threads = ThreadPoolExecutor(MOST, thread_name_prefix="mainspring-wait")


_make_room()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_room)  # a fork has none of the threads
