"""Django's own tests of its tasks, which no wheel has: taken from the source distribution of the installed version."""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

CACHE = Path(__file__).parents[2] / ".cache"


class SourceMissing(Exception):
    """The tests cannot be had; the message says why."""


def django_tests():
    """Return the folder with the test files for the installed Django, fetched once."""
    if django.VERSION < (6, 0):
        raise SourceMissing("Django has tasks, and tests for them, from 6.0 on; the backport's archive has no tests.")
    folder = CACHE / f"django-{django.get_version()}-tests"
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as new:
            extract(download(Path(new)), Path(new) / "tests")
            (Path(new) / "tests").rename(folder)
    return folder


def download(folder):
    """Return the archive of the installed Django's source, as pip gets it."""
    wanted = f"django=={django.get_version()}"
    options = ["--no-binary", ":all:", "--no-deps", "--quiet", "--retries", "1", "--timeout", "20", "--dest", folder]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, wanted], capture_output=True, text=True, check=False
    )
    if pip.returncode:
        reason = (pip.stderr.strip() or "it said nothing").splitlines()[-1]
        raise SourceMissing(f"pip cannot download the source of {wanted}: {reason}")
    return next(folder.glob("*.tar.gz"))


def extract(archive, folder):
    """Write the Python files of `tests/tasks` in the archive into a folder."""
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            path = Path(member.name)
            if member.isfile() and path.match("*/tests/tasks/*.py"):
                (folder / path.name).write_bytes(tar.extractfile(member).read())
