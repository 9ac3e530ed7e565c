"""Django's own tests of tasks, with our backends in the places of Django's Dummy and Immediate."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

# The tests that cannot pass, each with the reason; all others must.
EXPECTED_FAILURES = {
    "DummyBackendTestCase.test_refresh_result": "changes the status of an object in DummyBackend's list",
    "DummyBackendTestCase.test_refresh_result_async": "changes the status of an object in DummyBackend's list",
    "ImmediateBackendTestCase.test_cannot_get_result": "asserts that results cannot be looked up",
    "ImmediateBackendTestCase.test_cannot_refresh_result": "asserts that results cannot be refreshed",
    "ImmediateBackendTestCase.test_cannot_pass_run_after": "asserts that tasks cannot be deferred",
}

ONLY_THE_NAMES = {
    "django.tasks.backends.dummy.DummyBackend": "tests.compat.backends.{name}",
    "django.tasks.backends.immediate.ImmediateBackend": "tests.compat.backends.{name}Immediate",
    "from django.tasks.backends.dummy import ": "from tests.compat.backends import {name} as ",
    "from django.tasks.backends.immediate import ": "from tests.compat.backends import {name}Immediate as ",
}
# A SimpleTestCase may not use a database, and a TestCase shows its rows to one thread only.
WITH_A_DATABASE = {"SimpleTestCase": "TransactionTestCase"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("Memory", ONLY_THE_NAMES, id="memory"),
        pytest.param("Database", ONLY_THE_NAMES | WITH_A_DATABASE, id="database"),
    ],
)
def test_django(source, tmp_path, name, changes):
    """Nothing in the files is changed but names."""
    rewrite(source, tmp_path / "tasks", {old: new.format(name=name) for old, new in changes.items()})
    report, output = run(tmp_path)

    failed = {test for test, has_failed in report.items() if has_failed}
    assert failed == EXPECTED_FAILURES.keys(), output
    assert len(report) > 70, output


def rewrite(source, folder, changes):
    """Copy the test files with some words changed."""
    folder.mkdir()
    for file in source.glob("*.py"):
        text = file.read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        (folder / file.name).write_text(text)


def run(folder):
    """Run the tests in a process of their own; return `{"Class.test": has failed}` and the output."""
    inherited = {key: value for key, value in os.environ.items() if key != "MAINSPRING_TEST_DATABASES"}
    # Some of the async tests call sync methods, which Django forbids as soon as they use a database.
    inherited |= {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "DJANGO_ALLOW_ASYNC_UNSAFE": "1"}
    report = folder / "junit.xml"
    options = ["-q", "--ds=tests.compat.settings", "-p", "no:cacheprovider", "-c", "/dev/null", f"--junitxml={report}"]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", folder, folder / "tasks"],
        cwd=folder,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return read_junit(report), process.stdout


def read_junit(report):
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}.{case.get('name')}"
        has_failed = any(case.find(kind) is not None for kind in ("failure", "error"))
        found[name] = found.get(name, False) or has_failed  # a subtest is a case of the same name
    return found
