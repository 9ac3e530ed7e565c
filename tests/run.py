"""
Run every check, or those that are named, and end with one line: `N passed, N failed, N skipped, N unsteady`.

A section that is not pytest counts as one test. The exit status is 0 if something passed and nothing failed. Tests run
four at a time with real processes and servers, often on a machine that others use too. A few that fail are therefore
run again one at a time, and those that then pass every time are unsteady: not failed, but named, to be mended.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

SITE = """
import django
SECRET_KEY = "only for tests"
INSTALLED_APPS = [*(["django_tasks"] if django.VERSION < (6, 0) else []), "mainspring"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TASKS = {"default": {"BACKEND": "mainspring.backends.DatabaseBackend"}}
"""

TYPED = """
import mainspring, pathlib
assert pathlib.Path(mainspring.__file__).with_name("py.typed").exists()
"""


MOST_UNSTEADY = 5  # of one section; more of them have a reason
ALONE = 3  # times that what has failed must pass alone


class Counts(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    unsteady: int = 0

    def __str__(self):
        return ", ".join(f"{number} {name}" for name, number in self._asdict().items())


class CommandFailed(Exception):
    """A command of a section has ended with an error, which it has printed."""


def lint():
    run(sys.executable, "-m", "ruff", "check", ".")
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


def types():
    run(sys.executable, "-m", "mypy")


def migrations():
    options = ["--check", "--dry-run", "--settings", "tests.settings"]
    run(sys.executable, "-m", "django", "makemigrations", *options)


def sqlite():
    return pytest(sys.executable, "sqlite")


def postgresql():
    return pytest(sys.executable, "postgresql")


def mariadb():
    return pytest(sys.executable, "mariadb")


def redis():
    return pytest(sys.executable, "redis")


def cluster():
    """Redis shared by three masters: what the contract says, and one real worker."""
    return pytest(sys.executable, "redis-cluster", "tests/contract", "tests/processes/test_redis_cluster.py")


def django60():
    return pytest_in("django60")


def django52():
    return pytest_in("django52")


def demo():
    run("make", "demo", "ONCE=1")


def wheel():
    """The package as a user gets it: built, installed into an empty environment, away from the sources."""
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ".")
        run(sys.executable, "-m", "venv", f"{folder}/venv")
        python = f"{folder}/venv/bin/python"
        run(python, "-m", "pip", "install", "--quiet", *Path(folder).glob("*.whl"))
        Path(folder, "site_settings.py").write_text(SITE)
        run(python, "-c", TYPED, cwd=folder)
        run(python, "-m", "django", "check", "--settings", "site_settings", cwd=folder)


SECTIONS = {
    section.__name__: section
    for section in (
        *(lint, types, migrations),
        *(sqlite, postgresql, mariadb, redis, cluster),
        *(django60, django52),
        *(demo, wheel),
    )
}
GROUPS = {"compat": ["django60", "django52"]}
# Of the tests of processes those in which Python itself matters: stores and signals are the same everywhere.
FOR_PYTHON = ("worker", "timeouts", "hard_tasks", "stack", "reload")
COMPAT = [
    *(f"tests/{name}" for name in ("unit", "contract", "backend", "commands", "compat")),
    *(f"tests/processes/test_{name}.py" for name in FOR_PYTHON),
]


def pytest_in(name):
    """Run the tests in the environment `.venv-<name>`, which make can build if it finds the interpreter."""
    folder = ROOT / f".venv-{name}"
    run("make", "--no-print-directory", f"{folder.name}/.ready")
    if not (folder / ".ready").exists():
        return Counts(skipped=1)
    return pytest(folder / "bin" / "python", "sqlite", *COMPAT)


def pytest(python, database, *options):
    command = [python, "-m", "pytest", "-q", *options]
    with tempfile.TemporaryDirectory() as folder:
        # More than there are cores, as tests of real workers mostly wait.
        counts = run_pytest([*command, "-n", "4", "--dist", "worksteal"], database, Path(folder, "first"))
        if 0 < counts.failed <= MOST_UNSTEADY and passes_alone(command, database, folder):
            counts = counts._replace(failed=0, unsteady=counts.failed)
        return counts


def run_pytest(command, database, folder):
    """Run pytest and return its counts; one that collected nothing, or broke down, has failed although no test has."""
    report = folder / "junit.xml"
    options = ["-o", f"cache_dir={folder}/cache", f"--junitxml={report}"]
    status = subprocess.run([*command, *options], cwd=ROOT, env=environment(database)).returncode
    counts = read_junit(report) if report.exists() else Counts()
    return counts._replace(failed=1) if status and not counts.failed else counts


def passes_alone(command, database, folder):
    """Run once more what has failed, one test at a time; return whether it passes every time."""
    if not Path(folder, "first", "cache", "v", "cache", "lastfailed").exists():
        return False  # the run broke down, or collected nothing
    for number in range(ALONE):
        print("--- what has failed, once more and alone", flush=True)
        again = Path(folder, f"again-{number}")
        shutil.copytree(Path(folder, "first", "cache"), again / "cache")  # which names what has failed
        options = ["-n", "0", "--last-failed", "--last-failed-no-failures", "none"]
        counts = run_pytest([*command, *options], database, again)
        if counts.failed or not counts.passed:
            return False
    return True


def read_junit(report):
    suites = list(ElementTree.parse(report).iter("testsuite"))
    keys = ("tests", "failures", "errors", "skipped")
    total = {key: sum(int(suite.get(key)) for suite in suites) for key in keys}
    failed = total["failures"] + total["errors"]
    return Counts(total["tests"] - failed - total["skipped"], failed, total["skipped"])


def run(*command, cwd=ROOT):
    if subprocess.run(list(map(str, command)), cwd=cwd, env=environment("sqlite")).returncode:
        raise CommandFailed


def environment(database):
    # Of the make that started us, the make that we start must know nothing.
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAINSPRING_TEST_DATABASES", "DJANGO_SETTINGS_MODULE"}
    inherited = {key: value for key, value in os.environ.items() if key not in ours}
    return {**inherited, "MAINSPRING_TEST_DB": database}


def run_section(name):
    """Run one section, and print its name before and its counts after it."""
    print(f"\n=== {name}", flush=True)
    started = time.monotonic()
    try:
        counts = SECTIONS[name]() or Counts(passed=1)
    except CommandFailed:
        counts = Counts(failed=1)
    print(f"=== {name}: {counts} in {time.monotonic() - started:.0f} s", flush=True)
    return counts


def chosen_sections():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="*", help=f"{', '.join([*SECTIONS, *GROUPS])}; all if none is named")
    names = parser.parse_args().section or list(SECTIONS)
    names = [name for given in names for name in GROUPS.get(given, [given])]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}; expected {', '.join([*SECTIONS, *GROUPS])}")
    return names


def main():
    # As an exception, so that the command under way is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = {name: run_section(name) for name in chosen_sections()}
    total = Counts(*map(sum, zip(*results.values(), strict=True)))
    print()
    for name, counts in results.items():
        print(f"{name:12} {counts}")
    print(total, flush=True)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
