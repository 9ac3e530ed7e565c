"""Importing a part of a data file: good rows become places, bad ones rejections."""

from time import perf_counter

from django.db import transaction

from .models import Chunk, Place, Rejection, SourceFile
from .source import read_rows
from .validation import InvalidRow, place_from

COLUMNS = [field.name for field in Place._meta.concrete_fields if field.name not in ("id", "ident")]


def import_chunk(source, start, stop):
    """
    Import the rows from `start` up to `stop` of a SourceFile and return the Chunk.

    A job may run twice: the second time changes nothing.
    """
    began = perf_counter()
    places, rejections = sort_out(source, start, stop)
    with transaction.atomic():
        Place.objects.bulk_create(
            places, batch_size=1000, update_conflicts=True, unique_fields=["ident"], update_fields=COLUMNS
        )
        Rejection.objects.bulk_create(
            rejections,
            update_conflicts=True,
            unique_fields=["source", "line"],
            update_fields=["ident", "reason"],
        )
        outcome = {"imported": len(places), "rejected": len(rejections), "seconds": perf_counter() - began}
        return Chunk.objects.update_or_create(source=source, start=start, defaults=outcome)[0]


def sort_out(source: SourceFile, start, stop):
    """Return the places and the rejections of these rows."""
    places, rejections, seen = [], [], {}
    for line, row in read_rows(source.name, start, stop):
        try:
            place = place_from(row)
            if place.ident in seen:
                raise InvalidRow(f"ident {place.ident!r} was already in line {seen[place.ident]}")
        except InvalidRow as fault:
            rejections.append(Rejection(source=source, line=line, ident=row["ident"], reason=str(fault)))
        else:
            seen[place.ident] = line
            places.append(place)
    return places, rejections
