import pytest

from tests.compat.source import SourceMissing, django_tests

MISSING = []


@pytest.fixture(scope="session")
def source():
    """The folder with Django's own test files."""
    try:
        return django_tests()
    except SourceMissing as error:
        MISSING.append(str(error))
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter):
    if MISSING:
        terminalreporter.write_line(f"!!! DJANGO'S OWN TESTS SKIPPED. {MISSING[0]}", red=True, bold=True)
