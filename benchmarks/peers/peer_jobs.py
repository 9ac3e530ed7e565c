"""What the jobs do; PEER_LOG says where they write when they begin."""

import os
import random
import time


def short(number, text):
    """Last 10 to 50 ms, and note the beginning and the end."""
    note("begin", number)
    time.sleep(random.uniform(0.01, 0.05))
    note("end", number)


def noop(number, text):
    """Note the beginning of those jobs that somebody waits for, and do nothing; the text only takes room."""
    if number <= 0:
        note("begin", number)


def kilobyte(number, text):
    """Return what was given, which is long."""
    noop(number, text)
    return text


def query(number, text):
    """Ask the database of the Django project one small question."""
    from django.contrib.auth.models import User

    noop(number, text)
    User.objects.filter(pk=1).exists()


async def async_noop(number, text):
    noop(number, text)


async def async_kilobyte(number, text):
    return kilobyte(number, text)


async def async_query(number, text):
    from django.contrib.auth.models import User

    noop(number, text)
    await User.objects.filter(pk=1).aexists()


JOBS = {"short": short, "noop": noop, "kilobyte": kilobyte, "query": query, "async_noop": async_noop}
# For systems whose jobs are coroutines whatever they do.
JOBS_IN_LOOP = {"noop": async_noop, "kilobyte": async_kilobyte, "query": async_query, "async_noop": async_noop}


def note(what, number):
    # One write to a file opened with O_APPEND is one whole line, whoever else writes at that moment.
    log = os.open(os.environ["PEER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{what} {number} {time.monotonic()}\n".encode())
    os.close(log)
