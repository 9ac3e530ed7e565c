"""The same job in the words of each system. Runs in that system's own environment; PEER_SYSTEM says which it is."""

import asyncio
import contextlib
import functools
import json
import logging
import os
import random
import time
from urllib.parse import urlsplit

SYSTEM = os.environ["PEER_SYSTEM"]
REDIS = os.environ.get("PEER_REDIS", "")
RESULTS = REDIS.removesuffix("/0") + "/1"  # a database of results only, so that DBSIZE is their number


def run(number, text=""):
    """Do what the benchmark measures with; the text only takes room."""
    JOBS[os.environ["PEER_JOB"]](number)


def short(number):
    """Last 10 to 50 ms, and note the beginning and the end."""
    note("begin", number)
    time.sleep(random.uniform(0.01, 0.05))
    note("end", number)


def noop(number):
    """Note the beginning of those jobs that somebody waits for, and do nothing."""
    if number <= 0:
        note("begin", number)


JOBS = {"short": short, "noop": noop}


def note(what, number):
    # One write to a file opened with O_APPEND is one whole line, whoever else writes at that moment.
    log = os.open(os.environ["PEER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{what} {number} {time.monotonic()}\n".encode())
    os.close(log)


def rows(query):
    """Return a function that asks the database for a number."""

    def ask(jobs):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

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


# What follows gives `send`, which enqueues a call of `run`, and where speed is measured also `stored`, which returns
# how many of so many jobs have an outcome that can be read.
if SYSTEM.startswith(("mainspring", "django")):
    import django

    django.setup()

if SYSTEM.startswith("mainspring"):
    from mainspring import task

    run = task(run)
    send = run.enqueue
    if SYSTEM == "mainspring-redis":
        stored = reply("ZCARD", "{mainspring:default}:ended")
    else:
        stored = rows("SELECT COUNT(*) FROM mainspring_finished")
elif SYSTEM.startswith(("django-tasks-db", "django-ox")):
    from django.tasks import task

    run = task()(run)
    send = run.enqueue
    if SYSTEM.startswith("django-ox"):
        stored = rows("SELECT COUNT(*) FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'")
elif SYSTEM == "django-q2":
    from django_q.tasks import async_task

    def send(number):
        async_task("peer_app.run", number)
elif SYSTEM == "huey":
    from huey import SqliteHuey

    huey = SqliteHuey(filename=os.environ["PEER_FILE"], fsync=True)
    send = huey.task()(run)
elif SYSTEM == "huey-redis":
    from huey import RedisHuey

    huey = RedisHuey("peer", url=REDIS, store_none=True)
    send = huey.task()(run)
    stored = reply("HLEN", huey.storage.result_key)
elif SYSTEM == "rq":
    from redis import Redis
    from rq import Queue, Retry

    queue = Queue(connection=Redis.from_url(REDIS))

    def send(number):
        queue.enqueue(run, number, retry=Retry(max=100))
elif SYSTEM == "rq-redis":
    from redis import Redis
    from rq import Queue

    queue = Queue(connection=Redis.from_url(REDIS))
    send = functools.partial(queue.enqueue, run)
    stored = reply("ZCARD", queue.finished_job_registry.key)
elif SYSTEM == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=REDIS, heartbeat_timeout=5000, maintenance_chance=100_000))
    send = dramatiq.actor(run).send
elif SYSTEM == "dramatiq-redis":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=REDIS)
    broker.add_middleware(Results(backend=RedisBackend(url=RESULTS), store_results=True))
    dramatiq.set_broker(broker)
    send = dramatiq.actor(run).send
    stored = reply("DBSIZE", url=RESULTS)
elif SYSTEM == "celery":
    from celery import Celery

    app = Celery("storm", broker=REDIS)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={
            "visibility_timeout": 10,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
        },
    )
    send = app.task(run).delay
elif SYSTEM == "celery-redis":
    from celery import Celery

    app = Celery("speed", broker=REDIS, backend=RESULTS)
    app.conf.worker_prefetch_multiplier = 64
    send = app.task(run).delay
    stored = reply("DBSIZE", url=RESULTS)
elif SYSTEM == "saq":
    from saq import Queue

    async def run_in_loop(context, **arguments):
        run(**arguments)

    loop = asyncio.new_event_loop()
    queue = Queue.from_url(REDIS)
    settings = {"queue": queue, "functions": [("run", run_in_loop)], "concurrency": 50}
    stored = all_but("ZCARD", "saq:default:incomplete")

    def send(number, text=None):
        arguments = {"number": number} if text is None else {"number": number, "text": text}
        loop.run_until_complete(queue.enqueue("run", **arguments))
elif SYSTEM == "wakaq":
    from wakaq import WakaQ

    server = urlsplit(REDIS)
    wakaq = WakaQ(
        queues=[(0, "default")],
        host=server.hostname,
        port=server.port,
        concurrency=1,
        wait_timeout=0.1,  # so often the parent reads what its child tells of each job
        worker_log_level=logging.ERROR,
    )
    send = wakaq.task(run).delay
    stored = all_but("LLEN", *wakaq.broker_keys)
elif SYSTEM == "procrastinate":
    import procrastinate

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_POSTGRESQL"]),
        worker_defaults={"concurrency": 2, "update_heartbeat_interval": 1, "stalled_worker_timeout": 5},
    )
    task = app.task(name="run")(run)

    @app.periodic(cron="*/5 * * * * *")
    @app.task(queueing_lock="retry_stalled")
    async def retry_stalled(timestamp):
        """The recipe of procrastinate's documentation."""
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=5):
            await app.job_manager.retry_job(job)

    def send(number):
        task.defer(number=number)


def enqueue(jobs, *rest):
    """Send so many jobs, numbered from 0, with the other arguments, and print how many seconds that took."""
    with app.open() if SYSTEM == "procrastinate" else contextlib.nullcontext():
        began = time.monotonic()
        for number in range(jobs):
            send(number, *rest)
        print(time.monotonic() - began)


def wait_until_stored(jobs):
    """Print the moment at which another connection than the worker's shows so many outcomes."""
    while stored(jobs) < jobs:
        time.sleep(0.02)
    print(time.monotonic())


def ping(times, pause):
    """Send so many jobs with random pauses, numbered from -1 down, and print when each was sent."""
    sent = {}
    send(-1 - times)  # and forget it: the first job of a process also pays for imports and connections
    for number in range(-1, -1 - times, -1):
        time.sleep(random.uniform(*pause))
        sent[number] = time.monotonic()
        send(number)
    print(json.dumps(sent))


def used_memory():
    """Print the bytes that Redis uses when nobody but us is connected."""
    redis = redis_client(REDIS)
    while redis.info("clients")["connected_clients"] > 1:
        time.sleep(0.05)
    print(redis.info("memory")["used_memory"])
