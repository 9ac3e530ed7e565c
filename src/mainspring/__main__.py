"""
`python -m mainspring VERB ...`: the same verbs as `manage.py mainspring`, where DJANGO_SETTINGS_MODULE is set.

`worker` starts without the project's apps, so that an error in their code cannot keep it from starting: its
processes load them, and wait for a change of the code if they cannot.
"""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

from mainspring.worker.files import wait_for_change

PROGRAM = "python -m mainspring"


def main() -> None:
    verb = sys.argv[1:2]
    if verb != ["worker"]:
        execute_from_command_line([PROGRAM, "mainspring", *sys.argv[1:]])
        return
    try:
        settings.INSTALLED_APPS = ["mainspring"]
        execute_from_command_line([PROGRAM, "mainspring", *sys.argv[1:]])
    except Exception as error:
        if "--reload" not in sys.argv:
            raise
        wait_for_change(error)
        os.execv(sys.executable, [sys.executable, "-m", "mainspring", *sys.argv[1:]])


if __name__ == "__main__":
    main()
