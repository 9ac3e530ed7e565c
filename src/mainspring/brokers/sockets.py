"""Waiting for something to read."""

import math
import select
from typing import Any


def is_readable(file: Any, timeout: float = 0.0) -> bool:
    """Wait up to `timeout` seconds for a file or its number to become readable."""
    poll = select.poll()  # unlike select.select it takes numbers above 1023
    poll.register(file, select.POLLIN)
    return bool(poll.poll(math.ceil(timeout * 1000)))
