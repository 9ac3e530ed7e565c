#!/usr/bin/env python
"""
Run the example site with a worker, give the worker something to do, and show what comes of it.

Environment: ONCE=1 exits when all is done (with 1 if anything is missing), KEEP=1 keeps the database of the
last run, PORT is the port to prefer (8000).
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import django

WORK_DIR = Path(__file__).resolve().parent / ".demo"


def main():
    """Run the demo and return its exit code."""
    # Raised as exceptions, both stop the server and the worker too; a shell's background job ignores INT.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    once = os.environ.get("ONCE") == "1"
    prepare()
    from runner import story
    from runner.processes import ProcessDied

    try:
        return story.tell(preferred_port=int(os.environ.get("PORT", "8000")), once=once)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 1 if once else 0
    except ProcessDied as death:
        print(f"\n{death}", file=sys.stderr)
        return 1


def prepare():
    """Set Django up on a fresh database, or on that of the last run."""
    if os.environ.get("KEEP") != "1":
        shutil.rmtree(WORK_DIR, ignore_errors=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "desksite.settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    sys.exit(main())
