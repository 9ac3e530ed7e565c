"""Every verb explains itself."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from mainspring.management.commands.mainspring import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_examples(verb, capsys):
    with pytest.raises(SystemExit) as end:
        call_command("mainspring", verb, "--help")

    assert end.value.code == 0
    assert f"examples:\n  manage.py mainspring {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_a_terminal(verb, capsys):
    with pytest.raises(SystemExit):
        call_command("mainspring", verb, "--help")

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 119


def test_an_unknown_verb():
    with pytest.raises(CommandError, match="invalid choice: 'stats'"):
        call_command("mainspring", "stats")
