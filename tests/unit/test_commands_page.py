"""docs/reference/commands.md, and what the verbs really have."""

import re
from argparse import SUPPRESS
from pathlib import Path

import pytest

from mainspring.management.commands.mainspring import VERBS, Command

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def flags_of(verb):
    """Return a verb's own flags, without those that every Django command has."""
    whole = Command().create_parser("manage.py", "mainspring")
    (verbs,) = (action for action in whole._actions if action.dest == "verb")
    shown = [action for action in verbs.choices[verb]._actions if action.help != SUPPRESS]
    return {flag for action in shown for flag in action.option_strings}


def test_every_verb_has_a_section():
    assert tuple(SECTIONS) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_a_section_lists_exactly_the_flags_of_its_verb(verb):
    """`-h, --help` is said once for all."""
    rows = re.findall(r"^\| (`-.*?`) \|", SECTIONS[verb], re.MULTILINE)
    listed = {flag for row in rows for flag in re.findall(r"`(--?[\w-]+)", row)}

    assert listed == flags_of(verb) - {"-h", "--help"}
