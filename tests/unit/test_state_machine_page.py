"""The drawing of the state machine."""

import re
from pathlib import Path

from mainspring.job import MOVES

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "state-machine.md"


def test_the_drawing_shows_exactly_the_legal_moves():
    """Whoever changes the machine changes its picture."""
    drawn = set(re.findall(r"^ +(\w+) --> (\w+)", PAGE.read_text(), re.MULTILINE))

    assert drawn == {(str(state), str(target)) for state, targets in MOVES.items() for target in targets}
