"""The pages of the data desk, and the overview of both desks."""

from dataclasses import asdict

from django.db.models import Case, Count, When
from django.http import Http404, JsonResponse
from django.shortcuts import render
from django.tasks.exceptions import TaskResultDoesNotExist

from photos.models import Photo

from . import progress as site_progress
from .models import Chunk, Delivery, Page, Place, Rejection, Summary
from .tasks import deliver

REJECTIONS_SHOWN = 12
PLACES_SHOWN = 50
COUNTRIES_SHOWN = 24
SIZE = Case(*[When(kind=kind, then=size) for size, kind in enumerate(Place.Kind)])


def overview(request):
    """Show how far everything is, and a look at each desk."""
    context = {
        "kinds": site_progress.measure(),
        "is_finished": site_progress.is_finished(),
        "photos": Photo.objects.all(),
        "summary": Summary.objects.select_related("highest").first(),
        "rejections": latest_rejections(),
        "rejected": Rejection.objects.count(),
        "pages": Page.objects.filter(seconds__isnull=False).order_by("-seconds")[:8],
        "deliveries": list(with_results()),
    }
    return render(request, "desk/overview.html", context)


def progress(request):
    """Answer with the progress as JSON."""
    kinds = [asdict(kind) | {"percent": kind.percent} for kind in site_progress.measure()]
    return JsonResponse({"kinds": kinds, "finished": site_progress.is_finished()})


def places(request):
    """Show the import report."""
    context = {
        "rows": site_progress.rows(),
        "summary": Summary.objects.select_related("highest").first(),
        "countries": largest_countries(),
        "chunks": Chunk.objects.select_related("source"),
        "rejections": Rejection.objects.select_related("source"),
    }
    return render(request, "desk/places.html", context)


def country(request, country):
    """Show the largest airfields of a country."""
    found = Place.objects.filter(country=country)
    if not found.exists():
        raise Http404(f"No place in {country!r}")
    context = {
        "country": country,
        "count": found.count(),
        "places": found.order_by(SIZE, "name")[:PLACES_SHOWN],
    }
    return render(request, "desk/country.html", context)


def pages(request):
    """Show every fetched page."""
    return render(request, "desk/pages.html", {"pages": Page.objects.all()})


def deliveries(request):
    """Show every delivery with its attempts."""
    return render(request, "desk/deliveries.html", {"deliveries": list(with_results())})


def largest_countries():
    counted = Place.objects.values("country").annotate(count=Count("pk"))
    return counted.order_by("-count")[:COUNTRIES_SHOWN]


def latest_rejections():
    return Rejection.objects.select_related("source").order_by("-source", "line")[:REJECTIONS_SHOWN]


def with_results():
    """Yield the deliveries, each with its task's result (None until it is enqueued)."""
    for delivery in Delivery.objects.prefetch_related("attempts"):
        try:
            delivery.result = deliver.get_result(delivery.result_id)
        except TaskResultDoesNotExist:
            delivery.result = None
        yield delivery
