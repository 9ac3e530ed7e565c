"""Log lines on the terminal, for projects that have not said where Mainspring's should go."""

import logging


def log_to_terminal() -> None:
    """Write the `mainspring` loggers' lines to standard error unless the project's LOGGING already sends them on."""
    logger = logging.getLogger("mainspring")
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(process)d] %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
