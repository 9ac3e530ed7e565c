"""Numbers that a store tells: how many jobs have an outcome that can be read."""

import functools
import os

REDIS = os.environ.get("PEER_REDIS", "")
RESULTS = REDIS.removesuffix("/0") + "/1"  # a database of results only, so that DBSIZE is their number


def rows(query):
    """Return a function that asks Django's database for a number."""

    def ask(jobs):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    return ask


def rows_of(connect, query):
    """Return a function that asks a database without Django for a number; `connect` opens it for the first time."""
    connection = functools.cache(connect)

    def ask(jobs):
        return connection().execute(query).fetchone()[0]

    return ask


def reply(*command, url=REDIS):
    """Return a function that asks Redis for a number, with a command that costs it as good as nothing."""

    def ask(jobs):
        return redis_client(url).execute_command(*command)

    return ask


def all_but(*command):
    """Return a function that asks Redis how many of the jobs do not wait any more."""
    waiting = reply(*command)

    def ask(jobs):
        return jobs - waiting(jobs)

    return ask


@functools.cache
def redis_client(url):
    from redis import Redis

    return Redis.from_url(url)
