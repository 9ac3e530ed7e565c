"""Watching the files that a process has its code from."""

import os
import shutil
import sys

from mainspring.worker.files import FileWatch, loaded_files


def test_what_changes_comes_or_goes_is_seen_once(tmp_path):
    """In folders everything counts but Python files, of which only those that are loaded matter."""
    watch = FileWatch()
    (tmp_path / "deep").mkdir()
    page = tmp_path / "deep" / "page.html"
    watch.add([], [str(tmp_path)])
    assert watch.changed() is None
    for change in (lambda: page.write_text("one"), lambda: page.write_text("longer"), page.unlink):
        change()
        assert watch.changed() == str(page)
        assert watch.changed() is None
    (tmp_path / "deep" / "module.py").touch()

    assert watch.changed() is None


def test_a_folder_may_go_while_it_is_looked_at(tmp_path, monkeypatch):
    """As when somebody checks out another branch."""
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.html").touch()
    watch = FileWatch()
    watch.add([], [str(tmp_path)])
    scandir = os.scandir

    def scan(path):
        if isinstance(path, str) and path != str(tmp_path):
            shutil.rmtree(path, ignore_errors=True)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)

    assert watch.changed() is not None


def test_odd_modules_are_passed_over(monkeypatch):
    """Whatever stands among the modules may import something when it is asked for anything."""

    class Odd:
        def __getattr__(self, name):
            raise ImportError(name)

    monkeypatch.setitem(sys.modules, "odd", Odd())

    assert __file__ in loaded_files()
