"""What process lists show as the name of a process, where `setproctitle` is installed."""

import time

try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None  # type: ignore[assignment]

AT_MOST_EVERY = 0.05  # seconds; nobody reads faster, and jobs may take microseconds


class Title:
    """The title of this process: what it is, and after that what it does now."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = ""
        self._shown_at = 0.0
        self.show("")

    def show(self, doing: str, *, now: bool = True) -> None:
        """Show what the process does; unless `now`, one of many that follow each other quickly may be left out."""
        if setproctitle is None or doing == self._shown:
            return
        if now or time.monotonic() >= self._shown_at + AT_MOST_EVERY:
            self._shown, self._shown_at = doing, time.monotonic()
            setproctitle(f"{self._name} {doing}".strip())
