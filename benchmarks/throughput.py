"""
How many no-op jobs a second does one worker process drain?

The clock starts at the first claim and stops when the last outcome can be read from another connection.

    python benchmarks/throughput.py --store sqlite --store postgresql --jobs 20000 --rounds 3
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time

from stores import NAMES, store


def measure(task_name, jobs, queue):
    import django

    django.setup()
    from django.core.management import call_command

    from benchmarks.project import tasks
    from mainspring import enqueue_many
    from mainspring.compat import task_backends
    from mainspring.job import ENDS, LIVE, State

    call_command("migrate", verbosity=0)
    broker = task_backends["default"].broker
    broker.prune(ENDS, broker.now(), 10 * jobs)
    task = getattr(tasks, task_name)
    began = time.perf_counter()
    for _ in range(1000):
        task.enqueue()
    one_by_one = 1000 / (time.perf_counter() - began)
    began = time.perf_counter()
    for start in range(1000, jobs, 1000):
        enqueue_many(task, [()] * min(1000, jobs - start))
    in_bulk = (jobs - 1000) / (time.perf_counter() - began)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker = subprocess.Popen([sys.executable, "-m", "django", "mainspring", "worker"], stdout=subprocess.DEVNULL)
    while broker.search(states=LIVE, limit=1):
        time.sleep(0.02)
        assert worker.poll() is None, "the worker has ended; what it said stands above"
    ended = time.time()
    done = broker.search(states=[State.SUCCEEDED], limit=2 * jobs)
    assert len(done) == jobs, f"{len(done)} of {jobs} have succeeded"
    first = min(job.started_at for job in done) / 1e6
    worker.terminate()
    worker.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / jobs * 1e6
    queue.put((one_by_one, in_bulk, jobs / (ended - first), cpu))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--task", default="noop", choices=["noop", "async_noop", "query"])
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{options.jobs} jobs of {options.task}, {os.cpu_count()} cores, medians of {options.rounds} rounds (range)\n"
    )
    print("| store | enqueue one by one /s | in bulk /s | drain /s | worker CPU µs per job, start included |")
    print("|---|---:|---:|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for name in options.store or NAMES:
        with store(name):
            rows = []
            for _ in range(options.rounds):
                queue = context.Queue()
                process = context.Process(target=measure, args=(options.task, options.jobs, queue))
                process.start()
                rows.append(queue.get())
                process.join()
        figures = [
            f"{statistics.median(column):,.0f} ({min(column):,.0f}-{max(column):,.0f})"
            for column in zip(*rows, strict=True)
        ]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
