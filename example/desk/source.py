"""Reading rows of the data files, whole or in part."""

import csv
import gzip
from itertools import islice

from django.conf import settings


def read_rows(name, start=0, stop=None):
    """Yield `(line number, row)` for the rows from `start` up to `stop`; the header is no row."""
    with open_text(settings.DATA_DIR / name) as file:
        reader = csv.DictReader(file)
        for row in islice(reader, start, stop):
            yield reader.line_num, row


def count_rows(name):
    """Return how many rows a file has."""
    return sum(1 for _ in read_rows(name))


def open_text(path):
    open_file = gzip.open if path.suffix == ".gz" else open
    return open_file(path, "rt", encoding="utf-8", newline="")
