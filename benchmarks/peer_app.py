"""The same job in the words of each system. Runs in that system's own environment; STORM_SYSTEM says which it is."""

import contextlib
import os
import random
import time

SYSTEM = os.environ["STORM_SYSTEM"]
REDIS = os.environ.get("STORM_REDIS", "")


def run(number):
    """Last 10 to 50 ms, and note the beginning and the end."""
    note("begin", number)
    time.sleep(random.uniform(0.01, 0.05))
    note("end", number)


def note(what, number):
    # One write to a file opened with O_APPEND is one whole line, whoever else writes at that moment.
    log = os.open(os.environ["STORM_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{what} {number} {time.monotonic()}\n".encode())
    os.close(log)


if SYSTEM.startswith(("mainspring", "django")):
    import django

    django.setup()

if SYSTEM.startswith("mainspring"):
    from mainspring import task

    run = task(run)
    send = run.enqueue
elif SYSTEM == "django-tasks-db":
    from django.tasks import task

    run = task()(run)
    send = run.enqueue
elif SYSTEM == "django-q2":
    from django_q.tasks import async_task

    def send(number):
        async_task("peer_app.run", number)
elif SYSTEM == "huey":
    from huey import SqliteHuey

    huey = SqliteHuey(filename=os.environ["STORM_FILE"], fsync=True)
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
        connector=procrastinate.PsycopgConnector(conninfo=os.environ["STORM_POSTGRESQL"]),
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
    """Send so many jobs, numbered from 0."""
    with app.open() if SYSTEM == "procrastinate" else contextlib.nullcontext():
        for number in range(jobs):
            send(number)
