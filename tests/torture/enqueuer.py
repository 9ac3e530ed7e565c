"""Somebody who enqueues all the time, in every way there is, whatever happens to the store."""

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import Error, connection

from mainspring.exceptions import BrokerUnavailable
from tests.torture import tasks
from tests.torture.offers import Call, offer, offer_and_undo, offer_together

PER_SECOND = 30  # offers, of two or three jobs each on average with their children


class Enqueuer:
    """Offers jobs in a thread of its own from `start` to `stop`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="enqueuer")
        self._number = 0
        self.slowest = 0.0  # seconds that the longest offer took whose end was good

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(1 / PER_SECOND):
            began = time.monotonic()
            try:
                self._offer()
                self.slowest = max(self.slowest, time.monotonic() - began)
            except (Error, BrokerUnavailable):
                connection.close()  # the server is away; what was under way may or may not have been committed
        connection.close()

    def _offer(self) -> None:
        how: Callable[..., None] = self._random.choices((offer, offer_together, offer_and_undo), (6, 3, 1))[0]
        how(*(self._call() for _ in range(1 if how is offer else 3)))

    def _call(self) -> Call:
        self._number += 1
        number, chance = self._number, self._random.random()
        if chance < 0.04:
            return tasks.lasting, [number, self._seconds()]
        if chance < 0.10:
            return tasks.async_lasting, [number, self._seconds()]
        if chance < 0.20:
            return tasks.flaky, [number, self._random.randrange(4)]
        if chance < 0.25:
            return tasks.parent, [number, self._random.random() < 0.7]
        if chance < 0.30:
            return tasks.async_parent, [number, self._random.random() < 0.7]
        if chance < 0.40:
            return tasks.short.using(run_after=timedelta(seconds=self._random.uniform(0, 3))), [number]
        return self._random.choice([tasks.short, tasks.async_short]), [number]

    def _seconds(self) -> float:
        return round(self._random.uniform(0.2, 2.0), 2)
