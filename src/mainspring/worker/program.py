"""How one program takes another's place in a process, so that a signal to stop is lost by neither."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

STOPS = (signal.SIGTERM, signal.SIGINT)


def hold_signals() -> None:
    """Let a signal to stop wait for the program to come, and ignore HUP: that is about to load the code anyway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def become(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Replace this program by Python with these arguments, which is to call `end_when_told` soon."""
    hold_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *arguments], environment)


def end_when_told() -> None:
    """Let a signal to stop, also one that has come already, end this program as one that has begun nothing."""
    for number in STOPS:
        signal.signal(number, lambda number, frame: sys.exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
