"""Figures as people and as programs read them: medians with their range, a table in Markdown, and the same as JSON."""

import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def summary(values: Sequence[float]) -> str:
    """Return the median with the range in brackets, in as many digits as it deserves."""
    middle, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return shown(middle)
    return f"{shown(middle)} ({shown(low)} to {shown(high)})"


def shown(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which `part` (0 to 1) of them lie; of few the largest stands for p99."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class Report:
    """
    What one question was answered with: `columns` of a table whose rows are added and printed one by one.

    A cell is a text, a number, a list of one number per round (shown as median and range) or None. `save` writes all
    of it as JSON, with when and where it was measured.
    """

    def __init__(self, question: str, columns: Sequence[str], **settings: Any) -> None:
        self._columns = list(columns)
        self._content: dict[str, Any] = {
            "question": question,
            "command": _command(),
            "date": time.strftime("%Y-%m-%d"),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "settings": settings,
            "columns": self._columns,
            "rows": [],
        }
        print(f"{question}\n{circumstances(self._content)}\n\n{head(self._columns)}", flush=True)

    def add(self, row: Mapping[str, Any]) -> None:
        self._content["rows"].append(dict(row))
        print(line(self._columns, row), flush=True)

    def note(self, text: str) -> None:
        """Print what one must know of the figures, and save it with them; the first note follows the last row."""
        notes = self._content.setdefault("notes", [])
        print(f"{'' if notes else chr(10)}- {text}", flush=True)
        notes.append(text)

    def save(self, path: str | None) -> None:
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(json.dumps(self._content, indent=1) + "\n")


def _command() -> str:
    """Return how this program was started, without where it saves what it prints."""
    words = [word for before, word in itertools.pairwise(["", *sys.argv[1:]]) if "--json" not in (before, word)]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def circumstances(content: Mapping[str, Any]) -> str:
    """Return in one line when, on what and with which settings something was measured."""
    settings = [
        f"{name.replace('_', ' ')} {value}" for name, value in content["settings"].items() if value is not None
    ]
    return ", ".join([content["date"], f"Python {content['python']}", f"{content['cores']} cores", *settings])


def head(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}"


def line(columns: Sequence[str], row: Mapping[str, Any]) -> str:
    return f"| {' | '.join(_cell(row.get(column)) for column in columns)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return shown(value) if isinstance(value, float) else summary(value)
