"""Filling an empty database with what there is to do, and enqueueing it."""

from django.conf import settings
from django.core.files import File
from django.urls import reverse

from desk.models import Delivery, Page, SourceFile
from desk.source import count_rows
from desk.tasks import deliver, fetch_page, import_rows
from photos.models import Photo
from photos.tasks import make_thumbnail

SOURCES = ["airports.csv.gz", "heliports.csv"]
REPORTS = ["Morning report", "Noon report", "Evening report"]
CHUNK = 2500


def create(site):
    """Create the rows that the tasks work on; `site` is the address of the running server."""
    for path in sorted((settings.DATA_DIR / "photos").glob("*.jpg")):
        with path.open("rb") as file:
            Photo.objects.create(slug=path.stem, file=File(file, path.name))
    for name in SOURCES:
        SourceFile.objects.create(name=name, rows=count_rows(name))
    Page.objects.bulk_create(Page(url=site + path) for path in addresses())
    Delivery.objects.bulk_create(Delivery(name=name) for name in REPORTS)


def addresses():
    """Return the addresses to fetch."""
    names = ["overview", "photos", "places", "pages", "deliveries", "progress"]
    return [reverse(name) for name in names] + [photo.get_absolute_url() for photo in Photo.objects.all()]


def enqueue():
    """Enqueue a job for everything; return the results."""
    return [*enqueue_deliveries(), *enqueue_photos(), *enqueue_imports(), *enqueue_pages()]


def enqueue_photos():
    return [make_thumbnail.enqueue(photo.pk) for photo in Photo.objects.all()]


def enqueue_imports():
    return [
        import_rows.enqueue(source.name, start, min(start + CHUNK, source.rows))
        for source in SourceFile.objects.all()
        for start in range(0, source.rows, CHUNK)
    ]


def enqueue_pages():
    return [fetch_page.enqueue(page.url) for page in Page.objects.all()]


def enqueue_deliveries():
    results = []
    for delivery in Delivery.objects.all():
        result = deliver.enqueue(delivery.pk)
        Delivery.objects.filter(pk=delivery.pk).update(result_id=result.id)
        results.append(result)
    return results
