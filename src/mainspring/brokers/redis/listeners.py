"""How workers hear of work, and callers of the end of a job: a connection that has subscribed to a channel."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from mainspring.brokers.listening import BACKSTOP, WakeListener
from mainspring.brokers.redis.client import Client
from mainspring.brokers.redis.errors import translated
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import ENDS, Job

POLL_EVERY = 0.5  # seconds, where nobody can tell


class Subscription:
    """One channel, on a connection of its own. What was published before it was made is not heard."""

    def __init__(self, client: Client, channel: str) -> None:
        self._place = client.place
        self._connection: Any = client.new_connection()
        with translated(self._place):
            self._connection.send_command("SUBSCRIBE", channel)
            self._connection.read_response()

    def fileno(self) -> int:
        return int(self._connection._sock.fileno())

    def has_message(self, timeout: float = 0.0) -> bool:
        """Wait up to `timeout` seconds for a message; take in all that have come, and say whether there was one."""
        found = False
        with translated(self._place):
            while self._connection.can_read(timeout=0 if found else timeout):
                self._connection.read_response()
                found = True
        return found

    def close(self) -> None:
        self._connection.disconnect()


class RedisListener(WakeListener):
    """Hears whenever somebody has put a job in line."""

    def __init__(self, client: Client, channel: str) -> None:
        super().__init__()
        self._subscription = Subscription(client, channel)

    def fileno(self) -> int:
        return self._subscription.fileno()

    def close(self) -> None:
        self._subscription.close()

    def _was_woken(self) -> bool:
        return self._subscription.has_message()


def wait_for_end(
    client: Client, channel: str, job_id: str, look: Callable[[], Job | None], deadline: float
) -> Job | None:
    """Return the job when it has ended, or as it is at `deadline` on the monotonic clock; `look` reads it."""
    try:
        subscription = Subscription(client, channel)
    except BrokerUnavailable:
        # A server that has no connection left for us still answers those it has; one that is away says so at once.
        return _poll(look, deadline)
    with closing(subscription):
        try:
            # Whoever ends the job tells only if somebody waits. The entry goes with the job's end or its deletion.
            client.command("HSET", client.keys.waiters, job_id, "1")
        except BrokerUnavailable:  # the memory is full, for one
            return _poll(look, deadline)
        while (job := look()) is not None and job.state not in ENDS:
            left = deadline - time.monotonic()
            if left <= 0:
                return job
            subscription.has_message(min(left, BACKSTOP))
        client.command("HDEL", client.keys.waiters, job_id)
        return job


def _poll(look: Callable[[], Job | None], deadline: float) -> Job | None:
    while (job := look()) is not None and job.state not in ENDS and time.monotonic() < deadline:
        time.sleep(min(POLL_EVERY, max(deadline - time.monotonic(), 0.0)))
    return job
