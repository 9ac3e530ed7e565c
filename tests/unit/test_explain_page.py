"""The table of codes in docs/how-to/flow-control.md, and what `explain` can say."""

import ast
import inspect
import re
from pathlib import Path

from mainspring import explain
from mainspring.job import ENDS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "flow-control.md"
SECTION = PAGE.read_text().partition("\n## Why does a job wait?\n")[2].partition("\n## ")[0]


def codes():
    """Return the codes that stand in the source, and the ends, which are the names of their states."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(explain))) if isinstance(node, ast.Call)]
    made = [call for call in calls if getattr(call.func, "id", "") == "Explanation"]
    return {each.args[0].value for each in made if isinstance(each.args[0], ast.Constant)} | set(map(str, ENDS))


def test_every_code_is_in_the_table():
    rows = re.findall(r"^\| (`.*?) \|", SECTION, re.MULTILINE)
    listed = [code for row in rows for code in re.findall(r"`(\w+)`", row)]

    assert sorted(listed) == sorted(codes())
