"""
How long does it take on MariaDB to wake sleepers with KILL QUERY, by what they sleep in?

So many connections sleep, and another wakes them all after each random pause of 20 to 50 ms, as whoever enqueues does.

    python benchmarks/wake_ups.py --sleepers 4 --times 300
"""

import argparse
import random
import statistics
import threading
import time

from stores import ROOT  # noqa: F401 makes the tests' servers importable

from mainspring.brokers.database.mysql import INTERRUPTED, WAITS

SELECTS = [f"SELECT {wait} /* asleep */" for wait in WAITS.values()]


class Sleeper(threading.Thread):
    """Sleeps again whenever it is woken, and counts that."""

    def __init__(self, server, select):
        super().__init__(daemon=True)
        self.woken = 0
        self._connection = server.connect()
        self._select = select.format(5)

    def run(self):
        cursor = self._connection.cursor()
        while True:
            try:
                cursor.execute(self._select)
                self.woken += cursor.fetchone()[0] == 1
            except self._connection.OperationalError as error:
                if error.args[0] != INTERRUPTED:
                    return  # the server has gone, and the benchmark with it
                self.woken += 1


def measure(server, select, sleepers, times):
    threads = [Sleeper(server, select) for _ in range(sleepers)]
    for thread in threads:
        thread.start()
    connection = server.connect()
    cursor = connection.cursor()
    took = []
    for _ in range(times):
        time.sleep(random.uniform(0.02, 0.05))
        began = time.monotonic()
        cursor.execute("SELECT id FROM information_schema.processlist WHERE info LIKE %s", [select.format("%")])
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL QUERY {number}")
        took.append(time.monotonic() - began)
    time.sleep(0.1)
    return sorted(took), sum(thread.woken for thread in threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sleepers", type=int, default=4)
    parser.add_argument("--times", type=int, default=300)
    options = parser.parse_args()
    from tests import servers

    print("| asleep in | woken | median ms | over 0.1 s | slowest s |\n|---|---:|---:|---:|---:|")
    for select in SELECTS:
        with servers.MariaDB() as server:
            took, woken = measure(server, select, options.sleepers, options.times)
        late = sum(seconds > 0.1 for seconds in took)
        figures = f"{statistics.median(took) * 1000:.1f} | {late} of {options.times} | {took[-1]:.1f}"
        print(f"| `{select}` | {woken} of {options.sleepers * options.times} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
