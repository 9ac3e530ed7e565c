"""From a row of text to a Place, or to the reasons why not."""

import re

from .models import Place

LOWEST_FT, HIGHEST_FT = -1_500, 30_000


class InvalidRow(ValueError):
    """A row that cannot be imported; its text names every fault."""


def place_from(row):
    """Return an unsaved Place for a row of text; raise InvalidRow with all its faults."""
    if None in row.values():
        raise InvalidRow(f"{sum(value is None for value in row.values())} columns missing")
    faults = list(find_faults(row))
    if faults:
        raise InvalidRow("; ".join(faults))
    return Place(
        **row
        | {
            "latitude": float(row["latitude"]),
            "longitude": float(row["longitude"]),
            "elevation_ft": int(row["elevation_ft"]) if row["elevation_ft"] else None,
        }
    )


def find_faults(row):
    if not row["ident"]:
        yield "ident is empty"
    if row["kind"] not in Place.Kind:
        yield f"unknown kind {row['kind']!r}"
    if not row["name"]:
        yield "name is empty"
    if not is_between(row["latitude"], -90, 90):
        yield f"latitude {row['latitude']!r} is not a number from -90 to 90"
    if not is_between(row["longitude"], -180, 180):
        yield f"longitude {row['longitude']!r} is not a number from -180 to 180"
    if row["elevation_ft"] and not is_between(row["elevation_ft"], LOWEST_FT, HIGHEST_FT, int):
        yield f"elevation {row['elevation_ft']!r} is not a whole number of feet on Earth"
    if not re.fullmatch("[A-Z]{2}", row["country"]):
        yield f"country {row['country']!r} is not a two-letter code"
    elif not row["region"].startswith(row["country"] + "-"):
        yield f"region {row['region']!r} is not in {row['country']}"
    if row["iata_code"] and not re.fullmatch("[A-Z]{3}", row["iata_code"]):
        yield f"IATA code {row['iata_code']!r} is not three letters"


def is_between(text, low, high, number=float):
    try:
        return low <= number(text) <= high
    except ValueError:
        return False
