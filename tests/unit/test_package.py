"""The package's own face."""

import subprocess
import sys

import pytest

import mainspring

WITHOUT_DJANGO = """
import sys
import mainspring
assert not [name for name in sys.modules if name.split(".")[0] == "django"], "the import loads Django"
assert mainspring.Retry(delay=3).delay == 3
assert mainspring.Backoff("fixed", base=3)
assert "task" in dir(mainspring)
"""


def test_the_package_can_be_imported_before_django_is_set_up():
    """As a settings file may do."""
    subprocess.run([sys.executable, "-c", WITHOUT_DJANGO], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_every_public_name_is_there():
    """And no other."""
    for name in mainspring.__all__:
        assert getattr(mainspring, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'taks'"):
        mainspring.taks  # noqa: B018
