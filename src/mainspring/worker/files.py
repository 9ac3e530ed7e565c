"""The files that a process has its code from, and whether any of them has changed."""

import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, TracebackType

LOOK_EVERY = 0.5  # seconds

Stamp = tuple[int, int]  # time of the last change in nanoseconds, and size


class FileWatch:
    """
    Compares files with what they were at the last look.

    `folders` are watched with everything below them but Python files, of which only those that are loaded matter.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._stamps: dict[str, Stamp | None] = {}

    def add(self, files: Iterable[str], folders: Iterable[str] = ()) -> None:
        """Watch these too, from how they are now; what is watched already is compared with how it was."""
        self._files |= set(files)
        self._folders |= set(folders)
        for path in self._paths() - self._stamps.keys():
            self._stamps[path] = _stamp(path)

    def changed(self) -> str | None:
        """Return the path of a file that has changed, come or gone since the last call, None if there is none."""
        before = self._stamps
        self._stamps = {path: _stamp(path) for path in self._paths() | before.keys()}
        different = (path for path, stamp in self._stamps.items() if stamp != before.get(path))
        return min(different, default=None)

    def _paths(self) -> set[str]:
        return self._files | {path for folder in self._folders for path in _files_in(folder)}


def loaded_files() -> list[str]:
    """Return the files of all modules that this process has loaded from source."""
    # What is no module may import something, and fail, when it is asked for anything.
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    files = (vars(module).get("__file__") for module in modules)
    return sorted({file for file in files if isinstance(file, str) and file.endswith(".py")})


def watched_folders() -> list[str]:
    """Return the project's folders of templates and translations; call it when Django is set up."""
    from django.apps import apps
    from django.conf import settings
    from django.template.autoreload import get_template_directories

    locales = [Path(config.path, "locale") for config in apps.get_app_configs()]
    folders = {*get_template_directories(), *locales, *map(Path, settings.LOCALE_PATHS)}
    # What is installed changes with an installation, and that with a start.
    return sorted(str(folder) for folder in folders if folder.is_dir() and "site-packages" not in folder.parts)


def files_of(error: BaseException) -> list[str]:
    """Return the files that an error has to do with: those of its traceback, and of a SyntaxError the place itself."""
    found: set[str] = set()
    cause: BaseException | None = error
    while cause is not None:
        found |= _files_of(cause.__traceback__)
        if isinstance(cause, SyntaxError) and cause.filename:
            found.add(cause.filename)
        cause = cause.__cause__ or cause.__context__
    return sorted(path for path in found if Path(path).is_file())


def wait_for_change(error: BaseException) -> None:
    """Show an error in the code, and return when a file has changed that it may have to do with."""
    traceback.print_exception(error)
    watch = FileWatch()
    watch.add([*files_of(error), *loaded_files()])
    print("Waiting for a change of the code.", file=sys.stderr, flush=True)
    while watch.changed() is None:
        time.sleep(LOOK_EVERY)


def _files_of(trace: TracebackType | None) -> set[str]:
    return {frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)}


def _files_in(folder: str) -> set[str]:
    # Not rglob, which in Python 3.11 raises when a folder goes meanwhile.
    paths = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return {path for path in paths if not path.endswith((".py", ".pyc"))}


def _stamp(path: str) -> Stamp | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
