"""How far the site has come, kind by kind, read from what the tasks have written."""

from dataclasses import dataclass

from django.db.models import F, Sum

from photos.models import Photo

from .models import Attempt, Chunk, Delivery, Page, Rejection, SourceFile, Summary


@dataclass(frozen=True)
class Kind:
    """One kind of work: how much of it is done."""

    name: str
    done: int
    total: int
    note: str

    @property
    def is_finished(self):
        return self.done >= self.total

    @property
    def percent(self):
        return 100 * self.done // self.total if self.total else 0


def measure():
    """Return the progress of each Kind."""
    return [photos(), rows(), pages(), deliveries()]


def is_finished():
    """Is everything done, the summary of the places included?"""
    return Summary.objects.exists() and all(kind.is_finished for kind in measure())


def photos():
    done = Photo.objects.filter(status=Photo.Status.DONE).count()
    return Kind("photos", done, Photo.objects.count(), "thumbnails and palettes")


def rows():
    done = Chunk.objects.aggregate(n=Sum(F("imported") + F("rejected"), default=0))["n"]
    total = SourceFile.objects.aggregate(n=Sum("rows", default=0))["n"]
    return Kind("rows", done, total, f"{Rejection.objects.count()} rejected")


def pages():
    fetched = Page.objects.filter(status__isnull=False)
    size = fetched.aggregate(n=Sum("bytes", default=0))["n"]
    return Kind("pages", fetched.count(), Page.objects.count(), f"{size / 1000:,.0f} kB fetched")


def deliveries():
    done = Delivery.objects.filter(delivered_at__isnull=False).count()
    return Kind("deliveries", done, Delivery.objects.count(), f"{Attempt.objects.count()} attempts")
