"""Small tasks, made with the standard decorator as a project would."""

import asyncio
import os
import signal
import threading

import django

import mainspring
from tests.app.models import Note

if django.VERSION < (6, 0):
    from django_tasks import task
else:
    from django.tasks import task


@task
def noop():
    pass


@task
def add(a, b):
    return a + b


@task
def echo(value):
    return value


@task
def fail(message):
    raise ValueError(message)


@task
def note(text):
    """Write a row that outlives the task."""
    return Note.objects.create(text=text).pk


@task
def note_then_fail(text):
    Note.objects.create(text=text)
    raise ValueError(text)


@task
def hang(seconds=3600):
    """Block the thread without using the processor."""
    threading.Event().wait(seconds)


@task
def note_and_hang(text, seconds=None):
    """Show that it has begun, then block: for ever, unless told for how long."""
    Note.objects.create(text=text)
    threading.Event().wait(seconds)


@task
async def async_note_and_hang(text):
    await Note.objects.acreate(text=text)
    await asyncio.sleep(3600)


@task
def leave(code=1):
    """End the interpreter's thread as sys.exit() does."""
    raise SystemExit(code)


@task(takes_context=True)
def attempt(context):
    """Return the number of the attempt that this is."""
    return context.attempt


@task(queue_name="mail", priority=10)
def mail(address):
    return address


@task(queue_name="slow", priority=-10)
def slow(value):
    return value


@task
async def async_noop():
    pass


@task
async def async_echo(value):
    await asyncio.sleep(0)
    return value


@task
async def async_fail(message):
    raise ValueError(message)


@task
async def async_note(text):
    return (await Note.objects.acreate(text=text)).pk


@task
async def async_hang(seconds=3600):
    await asyncio.sleep(seconds)


@task
def kill_worker():
    """Die as by the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


@task
def hang_once():
    """Hang for ever at the first run, return at the next."""
    if Note.objects.filter(text="hung").exists():
        return
    Note.objects.create(text="hung")
    threading.Event().wait()


@mainspring.task(max_attempts=5, backoff=[0.1], takes_context=True)
def succeed_at_third(context):
    if context.attempt < 3:
        raise ValueError("not yet")
    return context.attempt


@task
def fork_and_die_once():
    """Leave a process behind that lives on, and die; return at the next run."""
    if Note.objects.exists():
        return
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    Note.objects.create(text=str(pid))
    os.kill(os.getpid(), signal.SIGKILL)


@task
def inherited():
    """Return what a program that this task starts gets from its process: signals ignored, and descriptors."""
    ignored = [number.name for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_ignored(number)]
    return [ignored, [fd for fd in range(3, 256) if is_inheritable(fd)]]


def is_ignored(number):
    return signal.getsignal(number) is signal.SIG_IGN


def is_inheritable(fd):
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


@mainspring.task(unique=True)
def sync(account_id, dry=False):
    return account_id


@mainspring.task(unique=mainspring.Unique(by="account_id", until="start", on_conflict="replace"))
def reindex(account_id, text):
    return text


@mainspring.task(unique=mainspring.Unique(by=lambda account_id, text: account_id % 10, on_conflict="raise"))
def by_shard(account_id, text):
    return text


@mainspring.task(unique=mainspring.Unique(on_conflict="after"))
def once_more(account_id):
    return account_id


@mainspring.task(unique=mainspring.Unique(window="10m"))
def once_in_ten_minutes(account_id):
    return account_id


@mainspring.task(unique=mainspring.Unique(by=["account_id"], until="start"), max_attempts=3, backoff=[0.0])
def enqueue_a_twin_and_fail(account_id, depth=0):
    """Enqueue another with the same key, and fail, so that it would have to come back beside that."""
    if depth == 0:
        enqueue_a_twin_and_fail.enqueue(account_id, depth=1)
        raise ValueError("boom")
    return depth


@mainspring.task(limits=[mainspring.Limit("stripe:{account_id}", concurrency=1), mainspring.Limit("all", rate="2/m")])
def charge(account_id):
    return account_id


@mainspring.task(key="order:{order_id}", ordered=True)
def ship(order_id, step=0):
    return step


@mainspring.task(
    key=lambda order_id: order_id % 2, ordered=mainspring.Ordered(retries_block=False), max_attempts=2, backoff=[60.0]
)
def ship_or_fail(order_id):
    if order_id < 0:
        raise ValueError("boom")
    return order_id


@mainspring.task(limits=mainspring.Limit("api", concurrency=5), max_attempts=1)
def call_api(delay, limit=None):
    """Be told to come back later the first time."""
    if delay and not asked:
        asked.append(delay)
        raise mainspring.RetryAfter(delay, limit)
    return delay


asked = []


@mainspring.task(rate="1/m", concurrency=3)
def rarely(number):
    return number


@mainspring.task
def pause_the_api():
    mainspring.current_job().limit("api").pause("1m")


@mainspring.task(fair_by="tenant")
def report(tenant, page):
    return page
