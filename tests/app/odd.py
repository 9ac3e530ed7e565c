"""Tasks that a project's own tests would not have."""

import functools
from datetime import timedelta

from django.db import connection

import mainspring
from mainspring.compat import Task


def _in_process(function):
    """Make a task as Django's own immediate backend makes it."""
    return Task(
        func=function, priority=0, backend="immediate", queue_name="default", run_after=None, takes_context=False
    )


@_in_process
def plain(value):
    return value


@mainspring.task(max_crashes=0)
def once():
    pass


def with_one(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(1, *args)

    return wrapper


@mainspring.task
@with_one
def given(one, value):
    return one + value


def _double(value):
    return value * 2


double = mainspring.task(_double)


@mainspring.task(max_attempts=3, backoff=timedelta(hours=1))
def fail_with(text):
    raise ValueError(text)


class Group:
    """Functions may live in a class."""

    @mainspring.task
    def member(value):
        return value


anonymous = mainspring.task(lambda: 1)
nameless = mainspring.task(lambda: 2)


def untaken():
    """A function that no task is made of under any name here."""


@mainspring.task(takes_context=True)
def attempts_seen(context, word):
    return [word, context.attempt, context.task_result.id, list(context.task_result.worker_ids)]


@mainspring.task
def enqueue_more(backend, levels):
    """Enqueue itself so many levels deep; None is for ever."""
    if levels != 0:
        enqueue_more.using(backend=backend).enqueue(backend, None if levels is None else levels - 1)


@mainspring.task
def break_the_transaction():
    """Do what PostgreSQL answers with an aborted transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nonsense FROM nowhere")


@mainspring.task
def interrupt():
    """Be what the terminal's Ctrl-C hits."""
    raise KeyboardInterrupt
