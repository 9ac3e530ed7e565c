"""The same job in the words of each system. Runs in that system's own environment; PEER_SYSTEM says which it is."""

import contextlib
import json
import os
import random
import time

SYSTEM = os.environ["PEER_SYSTEM"]
REDIS = os.environ.get("PEER_REDIS", "")


def run(number):
    """Do what the benchmark measures with."""
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


if SYSTEM.startswith(("mainspring", "django")):
    import django

    django.setup()

if SYSTEM.startswith("mainspring"):
    from mainspring import task

    run = task(run)
    send = run.enqueue
elif SYSTEM.startswith(("django-tasks-db", "django-ox")):
    from django.tasks import task

    run = task()(run)
    send = run.enqueue
elif SYSTEM == "django-q2":
    from django_q.tasks import async_task

    def send(number):
        async_task("peer_app.run", number)
elif SYSTEM == "huey":
    from huey import SqliteHuey

    huey = SqliteHuey(filename=os.environ["PEER_FILE"], fsync=True)
    send = huey.task()(run)
elif SYSTEM == "rq":
    from redis import Redis
    from rq import Queue, Retry

    queue = Queue(connection=Redis.from_url(REDIS))

    def send(number):
        queue.enqueue(run, number, retry=Retry(max=100))
elif SYSTEM == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=REDIS, heartbeat_timeout=5000, maintenance_chance=100_000))
    send = dramatiq.actor(run).send
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


def enqueue(jobs):
    """Send so many jobs, numbered from 0, and print how many seconds that took."""
    with app.open() if SYSTEM == "procrastinate" else contextlib.nullcontext():
        began = time.monotonic()
        for number in range(jobs):
            send(number)
        print(time.monotonic() - began)


def wait_until_stored(query, jobs):
    """Print the moment at which the database shows so many outcomes."""
    from django.db import connection

    with connection.cursor() as cursor:
        stored = 0
        while stored < jobs:
            time.sleep(0.02)
            cursor.execute(query)
            [stored] = cursor.fetchone()
    print(time.monotonic())


def ping(times, pause):
    """Send so many jobs with random pauses, numbered from -1 down, and print when each was sent."""
    sent = {}
    for number in range(-1, -1 - times, -1):
        time.sleep(random.uniform(*pause))
        sent[number] = time.monotonic()
        send(number)
    print(json.dumps(sent))
