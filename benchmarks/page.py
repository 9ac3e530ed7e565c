"""
Writes docs/explanation/benchmarks.md from the answers in benchmarks/results/, in the order of `bench.py`.

    python benchmarks/page.py && python benchmarks/charts.py
"""

import json
from pathlib import Path

from bench import QUESTIONS, RESULTS
from figures import circumstances, head, line

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "benchmarks.md"
TITLE = """\
# Benchmarks

Every table here is written by a program (`benchmarks/page.py`) from what its command has measured; `make bench` runs
the same scripts with more jobs and pairs. Other queues come from PyPI, servers are private, commits are durable.
[Speed](speed.md) says what the figures mean. Numbers are medians, with the range in brackets; "–" is where nothing was
promised or measured. Machines differ: compare within a table.

![How many jobs a second each system drains on each store](images/drains.svg)
"""


def main() -> None:
    answers = [RESULTS / f"{each.name}.json" for each in QUESTIONS]
    parts = [section(json.loads(path.read_text())) for path in answers if path.exists()]
    PAGE.write_text("\n".join([TITLE, *parts]))
    print(PAGE)


def section(content: dict) -> str:
    columns = content["columns"]
    table = "\n".join([head(columns), *(line(columns, row) for row in content["rows"])])
    notes = "\n".join(f"- {note}" for note in content.get("notes", []))
    asked = [f"## {content['question']}\n", f"```sh\n{content['command']}\n```\n", f"{circumstances(content)}."]
    return "\n".join([*asked, "", table, *(["", notes] if notes else []), ""])


if __name__ == "__main__":
    main()
