"""A worker that has nothing to do: what it costs the database, and how soon it begins when there is work."""

import random
import re
import threading
from datetime import timedelta

import pytest
from django.conf import settings

from mainspring.brokers.listening import WAKE_EVERY
from mainspring.clock import SECOND
from tests.app import tasks
from tests.processes import statements
from tests.processes.conftest import end_of
from tests.processes.pooler import Pooler

WATCHED = 11.0  # seconds; two heartbeats, which come every 5 s, or three
# How many statements a heartbeat takes at most; no other is sent, whatever the number of processes.
BEAT = {"sqlite": 9, "postgresql": 1, "mariadb": 3, "redis": 3}[settings.STORE]
# What is sent to the project's other database: a connection is opened to look for an outbox there, and into it.
ELSEWHERE = re.compile(
    r"SELECT set_config|SELECT$|SELECT name, type FROM sqlite_master|SELECT VERSION|SET (NAMES|autocommit|SESSION)"
    r"|.*mainspring_outbox"
)
QUIET = 0.5  # seconds after a job until nobody looks for more
AT_ONCE = 1.0  # seconds; a wake-up that was lost is made good after up to 5
BY_POLLING = 2.0
TIMES = 4  # a wake-up that was lost stays unnoticed where a heartbeat comes just then


@pytest.fixture
def recorded(request, tmp_path):
    """The statements that the store has been sent, and the environment of a worker whose own are among them."""
    server = None if settings.STORE == "sqlite" else request.getfixturevalue("server")
    with statements.recorded(server, tmp_path) as found:
        yield found


@pytest.fixture
def pooler(server):
    if server.vendor == "redis":
        pytest.skip("Redis has no pooler that swallows what it is told")
    with Pooler(server) as pooler:
        yield pooler


def test_it_sends_what_its_heartbeats_need(start_worker, broker, recorded):
    """And nothing in between: nobody can tell when nothing happens, so it is watched for a while."""
    sent, environment = recorded
    start_worker("--processes", "3", **environment).wait_for_line("is ready", count=3)
    end_of(tasks.noop.enqueue(), broker)
    threading.Event().wait(QUIET)
    begin = len(sent())
    threading.Event().wait(WATCHED)
    idle = [statement for statement in sent()[begin:] if not ELSEWHERE.match(statement)]

    print(f"{len(idle)} statements in {WATCHED:g} s:", *idle, sep="\n")
    assert 0 < len(idle) <= 3 * BEAT


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_job_that_comes_after_a_pause_starts_at_once(start_worker, broker, processes):
    """Whatever the worker sleeps on, it is woken."""
    start_worker("--processes", processes).wait_for_line("is ready", count=int(processes))

    assert max(delays(broker)) < AT_ONCE


def test_a_job_that_falls_due_after_a_pause_starts_at_once(start_worker, broker):
    """Also one that was enqueued just after a wake-up, when there is no second."""
    start_worker().wait_for_line("is ready")
    late = []
    for pause in pauses():
        tasks.noop.using(run_after=timedelta(seconds=14)).enqueue()
        threading.Event().wait(WAKE_EVERY / 2)
        result = tasks.noop.using(run_after=timedelta(seconds=pause)).enqueue()
        late.append(delay_of(end_of(result, broker)))

    print("delays in seconds:", *late)
    assert max(late) < AT_ONCE


def test_it_polls_where_it_cannot_be_woken(pooler, start_worker, broker):
    """It finds out by itself, and asks often enough."""
    start_worker(**pooler.environment).wait_for_line("is ready")

    assert max(delays(broker)) < BY_POLLING
    assert pooler.swallowed


def pauses():
    """At random, so that nothing that polls falls into step with them."""
    return [random.uniform(0.5, 3) for _ in range(TIMES)]


def delays(broker):
    """By how many seconds each of some jobs began late that were enqueued with pauses between them."""
    late = []
    for pause in pauses():
        threading.Event().wait(pause)
        late.append(delay_of(end_of(tasks.noop.enqueue(), broker)))
    print("delays in seconds:", *late)
    return late


def delay_of(job):
    return (job.started_at - (job.run_after or job.enqueued_at)) / SECOND
