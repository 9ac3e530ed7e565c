"""`manage.py mainspring worker`: run jobs until told to stop."""

import difflib
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from mainspring.backends import MainspringBackend
from mainspring.compat import task_backends
from mainspring.conf import check_value, options_for
from mainspring.exceptions import InvalidOptions
from mainspring.worker.plan import Plan

HELP = "Run jobs until told to stop (TERM or Ctrl-C; a second one ends at once)."
EXAMPLES = """
examples:
  manage.py mainspring worker                        one process, 4 threads, 100 async jobs at once
  manage.py mainspring worker --processes auto       one process for each core
  manage.py mainspring worker --queues mail,default --threads 8
  manage.py mainspring worker --exclude slow
  manage.py mainspring worker --drain                run what is ready, then end (for cron and for CI)

exit codes:
  0    stopped; everything was finished or given back
  1    could not start; the message says why
  2    wrong usage
  130  a second TERM or Ctrl-C ended it at once; running jobs were given back
"""

# flag -> the option that it sets for this worker; conf.py checks the values and has the words for the help.
FLAGS = {
    "--processes": "processes",
    "--threads": "threads",
    "--async": "async",
    "--max-jobs": "max_jobs",
    "--max-idle": "max_idle",
    "--shutdown-timeout": "shutdown_timeout",
}
