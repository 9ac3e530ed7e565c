"""
How long does a job wait for an idle worker, from the enqueue's return to the first line of its code?

The pauses between jobs are random, so that nothing stays warm by chance.

    python benchmarks/latency.py --store postgresql --jobs 30 --pause 1 3
"""

import argparse
import multiprocessing
import random
import statistics
import subprocess
import sys
import time

from stores import NAMES, store


def measure(jobs, pause, queue):
    import django

    django.setup()
    from django.core.management import call_command

    from benchmarks.project import tasks

    call_command("migrate", verbosity=0)
    worker = subprocess.Popen([sys.executable, "-m", "django", "mainspring", "worker"], stdout=subprocess.DEVNULL)
    tasks.noop.enqueue().get(timeout=30)
    delays = []
    for _ in range(jobs):
        time.sleep(random.uniform(*pause))
        result = tasks.noop.enqueue()
        enqueued = time.time()
        time.sleep(0.2)  # to wait for it would be work beside the worker's
        result.get(timeout=30)
        delays.append((result.started_at.timestamp() - enqueued) * 1000)
    worker.terminate()
    worker.wait()
    queue.put(sorted(delays))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 3.0), metavar=("FROM", "TO"))
    options = parser.parse_args()
    print(f"{options.jobs} jobs after pauses of {options.pause[0]:g} to {options.pause[1]:g} s\n")
    print("| store | median ms | p90 ms | slowest ms |\n|---|---:|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for name in options.store or NAMES:
        with store(name):
            queue = context.Queue()
            process = context.Process(target=measure, args=(options.jobs, options.pause, queue))
            process.start()
            delays = queue.get()
            process.join()
        tail = delays[int(len(delays) * 0.9)]
        print(f"| {name} | {statistics.median(delays):.1f} | {tail:.1f} | {delays[-1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
