"""Every verb explains itself."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from mainspring.management.commands.mainspring import VERBS, Command


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


@pytest.mark.parametrize("words", [["worker", "--drian"], ["worker", "--drian=1"]])
def test_an_unknown_flag_is_named_with_the_nearest(words):
    """The verb's own parser says so: its usage lists what there is."""
    with pytest.raises(CommandError, match=r"unrecognized arguments: --drian.*; did you mean '--drain'\?"):
        call_command("mainspring", *words)


def test_an_argument_too_many():
    with pytest.raises(CommandError, match=r"unrecognized arguments: default$"):
        call_command("mainspring", "status", "default")


@pytest.mark.parametrize("words", [["--skip-checks", "-v", "0", "status"], ["status", "--skip-checks", "-v", "0"]])
def test_django_s_own_options_stand_before_the_verb_or_after_it(words):
    parser = Command().create_parser("manage.py", "mainspring")

    assert (parser.parse_args(words).skip_checks, parser.parse_args(words).verbosity) == (True, 0)


def test_the_usage_lists_the_verbs():
    usage = Command().create_parser("manage.py", "mainspring").format_usage()

    assert f"{{{','.join(VERBS)}}}" in usage
