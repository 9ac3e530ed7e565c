"""Simulated time, in microseconds, and what is in short supply: processors, an interpreter, a disk."""

import heapq
from collections import deque
from itertools import count

SLICE = 1000  # how long a processor stays with one of several who want it
HELD = 5000  # how long a thread of Python keeps the interpreter from others


class Events:
    """What happens, in the order of time; what happens at one time, in the order in which it was foreseen."""

    def __init__(self):
        self.now = 0.0
        self._numbers = count()
        self._heap = []

    def after(self, delay, action, *arguments):
        heapq.heappush(self._heap, (self.now + delay, next(self._numbers), action, arguments))

    def run(self, until):
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self._heap)
            action(*arguments)
        self.now = until


class Processors:
    """So many processors that take turns of SLICE at what is to be done; `number` None is always enough."""

    def __init__(self, events, number):
        self._events = events
        self._free = number
        self._waiting = deque()

    def run(self, microseconds, then, *arguments):
        if self._free is None:
            self._events.after(microseconds, then, *arguments)
        elif self._free:
            self._free -= 1
            self._start(microseconds, then, arguments)
        else:
            self._waiting.append((microseconds, then, arguments))

    def _start(self, left, then, arguments):
        now = min(left, SLICE)
        self._events.after(now, self._turn_over, left - now, then, arguments)

    def _turn_over(self, left, then, arguments):
        if left > 0:
            self._waiting.append((left, then, arguments))
        if self._waiting:
            self._start(*self._waiting.popleft())
        else:
            self._free += 1
        if left <= 0:
            then(*arguments)


class Interpreter:
    """The one Python of a process: a thread keeps it until it waits, or for HELD while another wants it."""

    def __init__(self, events, processors):
        self._events = events
        self._processors = processors
        self._is_busy = False
        self._waiting = deque()
        self._holder, self._since = None, 0.0
        self.busy = 0.0

    def run(self, thread, microseconds, then, *arguments):
        may_go_on = thread is self._holder and self._events.now < self._since + HELD
        if self._is_busy or (self._waiting and not may_go_on):
            self._waiting.append((thread, microseconds, then, arguments))
        else:
            self._start(thread, microseconds, then, arguments)

    def _start(self, thread, microseconds, then, arguments):
        if thread is not self._holder:
            self._holder, self._since = thread, self._events.now
        self._is_busy = True
        self.busy += microseconds
        self._processors.run(microseconds, self._done, then, arguments)

    def _done(self, then, arguments):
        self._is_busy = False
        then(*arguments)  # which may go on at once
        if not self._is_busy:
            self._holder = None
            if self._waiting:
                self._start(*self._waiting.popleft())


class Disk:
    """
    A log whose commits wait for a sync together: who comes during one shares the next.

    A sync takes `latency`, and more for what it writes at `speed` (bytes in a microsecond); `cpu` of it is work.
    """

    def __init__(self, events, processors, latency, speed, cpu):
        self._events = events
        self._processors = processors
        self._latency = latency
        self._speed = speed
        self._cpu = cpu
        self._waiting = []
        self._unwritten = 0.0
        self._is_syncing = False
        self.syncs = 0
        self.written = 0.0  # bytes

    def commit(self, size, then, *arguments):
        self._unwritten += size
        self._waiting.append((then, arguments))
        if not self._is_syncing:
            self._sync()

    def _sync(self):
        self._is_syncing = True
        self.syncs += 1
        self.written += self._unwritten
        lasts = self._latency + self._unwritten / self._speed
        self._unwritten = 0.0
        committed, self._waiting = self._waiting, []
        self._processors.run(self._cpu, self._events.after, max(lasts - self._cpu, 0), self._synced, committed)

    def _synced(self, committed):
        self._is_syncing = False
        if self._waiting:
            self._sync()
        for then, arguments in committed:
            then(*arguments)
