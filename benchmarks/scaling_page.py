"""
Writes the tables of docs/explanation/scaling.md from benchmarks/results/; the text between them is written by hand.

    python benchmarks/scaling_page.py
"""

import json
import re
import statistics
from pathlib import Path

from figures import circumstances, head, line, shown

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "scaling.md"
STORES = {
    "sqlite": "SQLite, NORMAL",
    "sqlite-full": "SQLite, FULL",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "redis": "Redis, everysec",
    "redis-always": "Redis, always",
}
VERBS = {
    "enqueue one": ("enqueue", 1),
    "of 1,000": ("enqueue", 1000),
    "a turn of one": ("settle and claim", 1),
    "of 16": ("settle and claim", 16),
    "of 256": ("settle and claim", 256),
    "a claim in vain": ("claim in vain", None),
}


def content(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def costs():
    found = {_key(row): row for row in content("costs")["rows"]}
    columns = ["µs of client + server", *VERBS, "log bytes", "round trips of a turn"]
    rows = []
    for name, title in STORES.items():
        row = {columns[0]: title}
        for column, (what, batch) in VERBS.items():
            client, server = (_median(found[name, what, batch, 1][side]) for side in ("client µs", "server µs"))
            row[column] = f"{_round(client)} + {_round(server)}" if server else _round(client)
        logs = (found[name, what, batch, 1] for what, batch in (("enqueue", 1), ("settle and claim", 64)))
        row["log bytes"] = _round(sum(_median(log["log bytes"]) for log in logs))
        trips = found[name, "settle and claim", 1, 1]["round trips"]
        row[columns[-1]] = None if trips is None else _round(trips)
        rows.append(row)
    return columns, rows


def at_once():
    found = {_key(row): row for row in content("costs")["rows"]}
    columns = ["jobs/s of", *(f"{clients} × {batch}" for batch in (1, 64) for clients in (1, 2, 4))]
    rows = []
    for name, title in STORES.items():
        row = {columns[0]: title}
        for batch in (1, 64):
            for clients in (1, 2, 4):
                wall = _median(found[name, "settle and claim", batch, clients]["wall µs"])
                row[f"{clients} × {batch}"] = _round(1e6 / wall)
        rows.append(row)
    return columns, rows


def validation():
    compared = ("jobs/s", "calls per job", "server µs")
    columns = ["store", "jobs", "processes", *compared]
    rows = [
        {"store": row["store"], "jobs": row["jobs"], "processes": row["workers"]}
        | {name: f"{_round(row[name])} / {_round(row[f'simulated {name}'])}" for name in compared}
        for row in content("simulation-validation")["rows"]
    ]
    return columns, rows


def throughput():
    found = content("simulation-throughput")["rows"]
    workers = sorted({row["workers"] for row in found})
    columns = ["store", "jobs", *(f"{number} processes" for number in workers), f"what saturates at {workers[-1]}"]
    rows = {}
    for row in found:
        store = _title(row)
        cells = rows.setdefault((store, row["jobs"]), {"store": store, "jobs": row["jobs"]})
        cells[f"{row['workers']} processes"] = f"{_round(row['jobs/s'])} ({row['server %']:.0f} %)"
        cells[columns[-1]] = row["saturated"]
    return columns, list(rows.values())


def arrivals():
    found = content("simulation-arrivals")["rows"]
    columns = ["store", "jobs", "processes", "enqueued/s", "server %", "claims in vain/s", "start p50 ms", "p99 ms"]
    rows = [
        {
            "store": _title(row),
            "jobs": row["jobs"],
            "processes": row["workers"],
            "enqueued/s": row["enqueued/s"],
            "server %": f"{row['server %']:.0f}",
            "claims in vain/s": _round(row["in vain/s"]),
            "start p50 ms": f"{row['start p50 ms']:.0f}",
            "p99 ms": f"{row['start p99 ms']:.0f}",
        }
        for row in found
        if row["jobs"] == "100 ms"
    ]
    return columns, rows


def choices():
    found = content("simulation-choices")["rows"]
    columns = ["store", "choice", "server %", "claims in vain/s", "start p50 ms", "p99 ms"]
    rows = [
        {
            "store": _title(row),
            "choice": row["choice"],
            "server %": f"{row['server %']:.0f}",
            "claims in vain/s": _round(row["in vain/s"]),
            "start p50 ms": f"{row['start p50 ms']:.0f}",
            "p99 ms": f"{row['start p99 ms']:.0f}",
        }
        for row in found
    ]
    return columns, rows


def commands():
    found = content("simulation-commands")["rows"]
    columns = ["store", "processes of one command", "claims in vain/s", "server %"]
    rows = [
        {
            "store": _title(row),
            columns[1]: row[columns[1]],
            "claims in vain/s": _round(row["in vain/s"]),
            "server %": _round(row["server %"]),
        }
        for row in found
    ]
    return columns, rows


def postgresql(part):
    found = content(f"postgresql-{part}")
    return found["columns"], found["rows"]


TABLES = {
    "costs": ("costs", costs),
    "at once": ("costs", at_once),
    "validation": ("simulation-validation", validation),
    "throughput": ("simulation-throughput", throughput),
    "arrivals": ("simulation-arrivals", arrivals),
    "choices": ("simulation-choices", choices),
    "commands": ("simulation-commands", commands),
    "table": ("postgresql-table", lambda: postgresql("table")),
    "history": ("postgresql-history", lambda: postgresql("history")),
    "statements": ("postgresql-statements", lambda: postgresql("statements")),
    "connections": ("postgresql-connections", lambda: postgresql("connections")),
    "pooler": ("postgresql-pooler", lambda: postgresql("pooler")),
}


def _key(row):
    return row["store"], row["what"], row["batch"], row["at once"]


def _median(value):
    return statistics.median(value) if isinstance(value, list) else value


def _round(value):
    """Return a number with as many digits as one measurement deserves."""
    return f"{value:,.0f}" if value >= 10 else shown(value)


def _title(row):
    return row["store"] if row["store"] == "Redis" else f"{row['store']}, {row['processors']} processors"


def table(match):
    name = match[1]
    source, make = TABLES[name]
    columns, rows = make()
    lines = [head(columns), *(line(columns, row) for row in rows)]
    return "\n".join([f"<!-- table: {name} -->", *lines, "", f"*{circumstances(content(source))}*", "<!-- end -->"])


def main():
    text = PAGE.read_text()
    names = re.findall(r"<!-- table: (.*?) -->", text)
    unknown = set(names) - set(TABLES)
    assert not unknown, f"no such tables: {unknown}"
    PAGE.write_text(re.sub(r"<!-- table: (.*?) -->.*?<!-- end -->", table, text, flags=re.DOTALL))
    print(f"{PAGE}: {', '.join(names)}")


if __name__ == "__main__":
    main()
