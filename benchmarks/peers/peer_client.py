"""What a benchmark does beside the worker, in the system's own environment: enqueue, wait, ask."""

import contextlib
import json
import random
import sys
import time

import peer_app
from peer_counts import REDIS, redis_client


def enqueue(jobs, *rest):
    """Send so many jobs, numbered from 0, with the other arguments, and print how many seconds that took."""
    with opened():
        began = time.monotonic()
        for number in range(jobs):
            peer_app.send(number, *rest)
        print(time.monotonic() - began)


def enqueue_in_bulk(jobs, *rest):
    """Do the same a thousand at a time."""
    with opened():
        began = time.monotonic()
        for start in range(0, jobs, 1000):
            peer_app.send_many([(number, *rest) for number in range(start, min(start + 1000, jobs))])
        print(time.monotonic() - began)


def wait_until_stored(jobs):
    """
    Print a line when ready, and then the moment at which another connection than the worker's shows so many outcomes.

    To count them takes time of the server's: ask seldom in the middle, and often where the end can be near.
    """
    done, asked_at = peer_app.stored(jobs), time.monotonic()
    print("ready", flush=True)
    began, moved_at, pause = None, asked_at, 0.05
    while done < jobs:
        time.sleep(pause)
        done_before, asked_before = done, asked_at
        done, asked_at = peer_app.stored(jobs), time.monotonic()
        if done > done_before:
            began, moved_at = began or asked_before, asked_at
            seconds_left = (jobs - done) * (asked_at - asked_before) / (done - done_before)
            pause = min(max(min(seconds_left, asked_at - began) / 2, 0.005), 0.5)
        elif asked_at - moved_at > 60:
            sys.exit(f"{done} of {jobs} jobs have an outcome, and that has not changed for a minute")
    print(asked_at)


def ping(times, pause):
    """Send so many jobs with random pauses, numbered from -1 down, and print when each was sent."""
    sent = {}
    with opened():
        peer_app.send(-1 - times)  # and forget it: the first job of a process also pays for imports and connections
        for number in range(-1, -1 - times, -1):
            time.sleep(random.uniform(*pause))
            sent[number] = time.monotonic()
            peer_app.send(number)
    print(json.dumps(sent))


def used_memory():
    """Print the bytes that Redis uses when nobody but us is connected."""
    redis = redis_client(REDIS)
    while redis.info("clients")["connected_clients"] > 1:
        time.sleep(0.05)
    print(redis.info("memory")["used_memory"])


def opened():
    """Return what must be entered to enqueue."""
    return peer_app.app.open() if peer_app.SYSTEM.startswith("procrastinate") else contextlib.nullcontext()
