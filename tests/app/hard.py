"""Tasks that misbehave, each in its own way."""

import asyncio
import contextlib
import ctypes
import functools
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time

from django.db import connection, transaction

import mainspring
from tests.app.models import Note

HOURS = 3600


def began(name):
    Note.objects.create(text=name)


# What takes too long.


@mainspring.task(timeout=0.5)
def spin():
    began("spin")
    while True:
        pass


@mainspring.task(timeout=0.5)
async def linger():
    await Note.objects.acreate(text="linger")
    await asyncio.sleep(HOURS)


@mainspring.task(timeout=0.5, grace=0.5)
def sleep_through():
    """Sit in a C call, which nothing can interrupt."""
    began("sleep_through")
    time.sleep(HOURS)


@mainspring.task(timeout=0.5, grace=0.5)
def swallow():
    """Take no notice of being interrupted."""
    began("swallow")
    while True:
        try:
            time.sleep(HOURS)
        except BaseException:
            continue


@mainspring.task(timeout=0.5, grace=0.5)
async def block_the_loop():
    """Keep every other coroutine of the process from going on."""
    await Note.objects.acreate(text="block_the_loop")
    time.sleep(HOURS)


@mainspring.task(timeout=0.5, grace=0.5)
def hang_in_a_log_handler():
    """Hold a lock that is taken when logging ends with its process."""
    began("hang_in_a_log_handler")
    _kept.append(logging.StreamHandler())
    _kept[-1].acquire()
    time.sleep(HOURS)


@mainspring.task(timeout=0.5, grace=0.5)
def hold_the_interpreter():
    """Sit in a C call that does not even let other threads run."""
    began("hold_the_interpreter")
    ctypes.PyDLL(None).sleep(HOURS)


@mainspring.task(timeout=0.5, max_attempts=3, backoff=[0])
def late_at_first():
    """Be late once, in time afterwards."""
    began("late_at_first")
    if Note.objects.filter(text="late_at_first").count() == 1:
        while True:
            pass
    return "in time"


@mainspring.task
def hold_briefly(seconds):
    """Hold the interpreter for longer than a lease, without a timeout."""
    began("hold_briefly")
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


# What harms its process.


@mainspring.task
def exit_at_once():
    os._exit(3)


@mainspring.task
def exit_like_a_stop():
    """With the code of a process that had to stop before its jobs had ended."""
    os._exit(75)


@mainspring.task
def crash():
    """Read from where nothing is."""
    ctypes.string_at(0)


@mainspring.task
def exhaust_memory():
    bytearray(1 << 60)


@mainspring.task
def raise_from_del():
    class Bad:
        def __del__(self):
            raise ValueError("from __del__")

    del Bad.__init__, Bad


@mainspring.task
def fork():
    """Leave by a fork of its own, as multiprocessing does."""
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return process.exitcode


@mainspring.task
def start_and_end_programs():
    """Return how two processes ended that were told to end, one with a program of its own and one without."""
    program = subprocess.Popen(["sleep", "60"])
    program.terminate()
    context = multiprocessing.get_context("fork")
    lives = context.Event()
    fork = context.Process(target=lambda: (lives.set(), time.sleep(60)))
    fork.start()
    lives.wait(10)
    fork.terminate()
    fork.join(10)
    return [program.wait(10), fork.exitcode]


@mainspring.task
def inherited_files():
    """Return which open files a program would get that is started without any care."""
    found = []
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            found += [fd] if os.get_inheritable(fd) else []
    return found


@mainspring.task
def close_connection():
    connection.connection.close()


@mainspring.task
def leave_a_transaction():
    """Go away in the middle of one."""
    transaction.atomic().__enter__()
    began("never committed")


@mainspring.task
def leave_a_transaction_in_sql():
    """As above, but without telling Django."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    began("never committed")


def leave_the_backoff(attempt, error):
    sys.exit(7)


@mainspring.task(max_attempts=2, backoff=leave_the_backoff)
def fail_and_leave():
    raise LookupError


@mainspring.task
def set_a_signal_handler():
    """Which only the main thread may do."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@mainspring.task
def leave():
    sys.exit(7)


@mainspring.task(timeout=HOURS)
async def leave_limited():
    """With a timeout it is an asyncio Task of its own, which lets this out of the loop."""
    sys.exit(7)


@mainspring.task
def press_ctrl_c():
    raise KeyboardInterrupt


@mainspring.task
def stop_the_loop():
    raise StopIteration


@mainspring.task
def deep():
    """Call itself without end."""
    return deep.func()


@mainspring.task
def return_rubbish():
    return object()


@mainspring.task
def raise_unprintable():
    class Unprintable(Exception):
        def __str__(self):
            raise ValueError("cannot be shown")

    raise Unprintable


@mainspring.task
async def cancel_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@mainspring.task
async def stop_the_event_loop():
    asyncio.get_running_loop().stop()


@mainspring.task
def leave_threads():
    """Leave a thread behind that never ends."""
    threading.Thread(target=threading.Event().wait, daemon=False).start()


@mainspring.task
def grow(megabytes):
    """Occupy memory for as long as the process lives."""
    _kept.append(bytearray(os.urandom(1)) * (megabytes * 10**6))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_kept = []


@mainspring.task
def pid():
    return os.getpid()


@mainspring.task
def crash_twice():
    """Kill the process at the first and the second run, and note the neighbours at the third."""
    began("crash_twice")
    if Note.objects.filter(text="crash_twice").count() < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@mainspring.task
def note_pid(text):
    Note.objects.create(text=f"{text} {os.getpid()}")
    threading.Event().wait(0.05)
    return os.getpid()


@mainspring.task(max_crashes=0)
def crash_once_only():
    began("crash_once_only")
    os._exit(1)


@mainspring.task
def hold_the_write_lock(seconds):
    """Write inside a transaction, and take long to end it."""
    with transaction.atomic():
        began("hold_the_write_lock")
        threading.Event().wait(seconds)


# What must not run twice, and what its neighbours do.


@mainspring.task(max_crashes=0)
def pay():
    began("paid")


@mainspring.task(max_crashes=1)
def die_for_good():
    os.kill(os.getpid(), signal.SIGKILL)


@mainspring.task
def terminate_a_program():
    """Return how a program that the task has started ended when it was told to."""
    program = subprocess.Popen(["sleep", str(HOURS)])
    program.terminate()
    try:
        return program.wait(10)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
        return "not at all"


@mainspring.task
def count():
    return Note.objects.count()


@mainspring.task(unique=mainspring.Unique(by="key", on_conflict="after"))
def exclusive(key, log):
    """Note in a file when the run begins and ends; nobody else may run with this key meanwhile."""
    note = functools.partial(_append, log)
    note(f"begin {key} {os.getpid()} {time.monotonic_ns()}")
    time.sleep(0.02)
    note(f"end {key} {os.getpid()} {time.monotonic_ns()}")


def _append(path, line):
    """Write one line in one call, so that lines of several processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


@mainspring.task(key="line:{key}", ordered=True, max_crashes=20)
def in_order(key, step, log):
    """Note in a file when the run begins and ends; those of earlier steps have ended before."""
    note = functools.partial(_append, log)
    note(f"begin {key} {step}")
    time.sleep(0.005)
    note(f"end {key} {step}")


@mainspring.task(limits=mainspring.Limit("few", concurrency=2), max_crashes=20)
def few_at_once(log):
    """Note in a file when the run begins and ends; one other may run meanwhile, and no more."""
    note = functools.partial(_append, log)
    note(f"begin {os.getpid()} {time.monotonic_ns()}")
    time.sleep(0.02)
    note(f"end {os.getpid()} {time.monotonic_ns()}")


@mainspring.task(limits=mainspring.Limit("four a second", rate="4/s", burst=1))
def four_a_second(log):
    """Note in a file when the run begins."""
    _append(log, f"{time.monotonic()}")
