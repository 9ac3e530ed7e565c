"""The closing words of the demo: what was done, and whether anything is missing."""

from time import monotonic, sleep

from django.tasks import TaskResultStatus

from desk import progress
from desk.models import Attempt, Delivery, Page, Place, Rejection
from photos.models import Photo

from .terminal import print_table

SETTLE_SECONDS = 5


def print_report(results, seconds, total):
    """Print a line for each kind of work, with the seconds after which it was done."""
    settle(results)
    done = sum(result.status == TaskResultStatus.SUCCESSFUL for result in results)
    print()
    print_table(
        [
            ("images done", Photo.objects.filter(status=Photo.Status.DONE).count(), after(seconds, "photos")),
            ("rows imported", f"{Place.objects.count():,}", after(seconds, "rows")),
            ("rows rejected", Rejection.objects.count(), "each with its line and reason"),
            ("pages fetched", Page.objects.filter(status=200).count(), after(seconds, "pages")),
            ("reports delivered", Delivery.objects.exclude(delivered_at=None).count(), deliveries(seconds)),
            ("jobs successful", f"{done}/{len(results)}", f"in {total:.1f} s"),
        ]
    )
    for result in results:
        if result.status == TaskResultStatus.FAILED:
            print(f"\n{result.task.name}{tuple(result.args)} failed:\n{result.errors[-1].traceback}")


def is_complete(results):
    """Is everything done, every page found and every job successful?"""
    return (
        progress.is_finished()
        and not Page.objects.exclude(status=200).exists()
        and all(result.status == TaskResultStatus.SUCCESSFUL for result in results)
    )


def settle(results):
    """Refresh the results; a task's own rows may be visible a moment before its outcome is."""
    deadline = monotonic() + SETTLE_SECONDS
    for result in results:
        result.refresh()
        while not result.is_finished and monotonic() < deadline:
            sleep(0.05)
            result.refresh()


def after(seconds, name):
    return f"after {seconds[name]:.1f} s" if name in seconds else "not finished"


def deliveries(seconds):
    return f"{after(seconds, 'deliveries')}, in {Attempt.objects.count()} attempts"
