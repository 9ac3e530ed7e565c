"""The tasks of the data desk: standard Django tasks, and one that retries."""

from time import perf_counter

from django.tasks import task
from django.utils import timezone

from mainspring import task as mainspring_task

from . import http
from .importing import import_chunk
from .models import Attempt, Delivery, Page, SourceFile
from .summary import write_summary

HANGS_UP = 2


@task(queue_name="data")
def import_rows(file, start, stop):
    """Import the rows from `start` up to `stop` of a data file; return how many went in and how many not."""
    chunk = import_chunk(SourceFile.objects.get(name=file), start, stop)
    return {"imported": chunk.imported, "rejected": chunk.rejected}


@task(queue_name="data", priority=10)
def summarise():
    """Count all places and draw their map."""
    summary = write_summary()
    return {"places": summary.places, "countries": summary.countries}


@task
async def fetch_page(url):
    """GET one page of the running site and keep its status, size and time; return the status."""
    began = perf_counter()
    status, body = await http.get(url)
    seconds = perf_counter() - began
    await Page.objects.filter(url=url).aupdate(status=status, bytes=len(body), seconds=seconds)
    return status


@mainspring_task(priority=10, takes_context=True, max_attempts=5, backoff=0.5, retry_on=[ConnectionError])
def deliver(context, delivery_id):
    """Deliver a report to a receiver that hangs up twice before it listens; return the number of attempts."""
    number = context.attempt
    if number <= HANGS_UP:
        note_attempt(delivery_id, number, "the receiver hung up")
        raise ConnectionResetError("the receiver hung up")
    note_attempt(delivery_id, number, "delivered")
    Delivery.objects.filter(pk=delivery_id).update(delivered_at=timezone.now())
    return number


def note_attempt(delivery_id, number, outcome):
    defaults = {"outcome": outcome, "at": timezone.now()}
    Attempt.objects.update_or_create(delivery_id=delivery_id, number=number, defaults=defaults)
