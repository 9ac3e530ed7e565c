"""The summary of all imported places, and the map that their dots draw."""

from io import BytesIO

from django.core.files.base import ContentFile
from django.db.models import Count, F
from PIL import Image

from .models import Place, Summary

# Three dots to a degree, from the north of Greenland to Cape Horn.
DOTS, NORTH, SOUTH = 3, 82, -58
WIDTH, HEIGHT = 360 * DOTS, (NORTH - SOUTH) * DOTS
# Each place adds this much to its dot, so that crowded regions glow.
DOT_OPACITY = 150


def write_summary():
    """Write the one Summary row anew and return it."""
    summary = Summary(
        pk=1,
        places=Place.objects.count(),
        countries=Place.objects.values("country").distinct().count(),
        highest=Place.objects.order_by(F("elevation_ft").desc(nulls_last=True)).first(),
        kinds=count_kinds(),
    )
    summary.map.save("places.png", draw_map(), save=False)
    summary.save()
    return summary


def count_kinds():
    counts = dict(Place.objects.values_list("kind").annotate(Count("pk")))
    return [{"name": kind.label, "count": counts[kind]} for kind in Place.Kind if kind in counts]


def draw_map():
    """Return a PNG of the places, black dots on nothing: the page uses it as a mask, in its own colours."""
    opacity = bytearray(WIDTH * HEIGHT)
    places = Place.objects.filter(latitude__gt=SOUTH, latitude__lt=NORTH)
    for latitude, longitude in places.values_list("latitude", "longitude").iterator():
        column, row = int((longitude + 180) * DOTS) % WIDTH, int((NORTH - latitude) * DOTS)
        dot = row * WIDTH + column
        opacity[dot] = min(255, opacity[dot] + DOT_OPACITY)
    image = Image.new("LA", (WIDTH, HEIGHT))
    image.putalpha(Image.frombytes("L", image.size, bytes(opacity)))
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return ContentFile(buffer.getvalue())
