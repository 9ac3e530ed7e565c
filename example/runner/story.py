"""The course of the demo: a server and a worker start, the work is enqueued, watched and reported."""

from time import monotonic, sleep

from django.conf import settings

from desk import progress
from desk.models import SourceFile
from desk.tasks import summarise

from . import content
from .processes import check_alive, free_port, running, wait_until_open
from .report import is_complete, print_report
from .terminal import Bars

TIME_LIMIT = 120


def tell(preferred_port, once):
    """
    Run the demo and serve the site until interrupted.

    With `once` return as soon as the work is over: 0 when all of it was done, else 1.
    """
    port = free_port(preferred_port)
    site = f"http://127.0.0.1:{port}"
    is_new = not SourceFile.objects.exists()
    if is_new:
        content.create(site)
    with (
        running(settings.WORK_DIR / "server.log", "runserver", "--noreload", f"127.0.0.1:{port}") as server,
        running(settings.WORK_DIR / "worker.log", "mainspring", "worker") as worker,
    ):
        wait_until_open(port, server)
        print(f"The photo and data desk is at {site}/\n", flush=True)
        is_well = work(server, worker, content.enqueue() if is_new else [])
        if once:
            return 0 if is_well else 1
        print(f"\nLook at {site}/ (Ctrl-C stops)", flush=True)
        while True:
            check_alive(server, worker)
            sleep(0.5)


def work(server, worker, results):
    """Show the progress until everything is done, report, and return whether all is well."""
    began = monotonic()
    bars, seconds = Bars(), {}
    while True:
        is_over = progress.is_finished() or monotonic() - began > TIME_LIMIT
        check_alive(server, worker)
        kinds = progress.measure()
        bars.show(kinds)
        finished = [kind.name for kind in kinds if kind.is_finished and kind.name not in seconds]
        if "rows" in finished:
            results.append(summarise.enqueue())
        seconds |= dict.fromkeys(finished, monotonic() - began)
        if is_over:
            break
        sleep(0.1)
    print_report(results, seconds, monotonic() - began)
    return is_complete(results)
