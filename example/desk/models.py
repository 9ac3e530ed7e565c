"""Imported places, fetched pages, delivered reports, and how far each has come."""

from urllib.parse import urlsplit

from django.db import models


class Place(models.Model):
    """An airfield of the imported files."""

    class Kind(models.TextChoices):
        LARGE = "large_airport", "Large airports"
        MEDIUM = "medium_airport", "Medium airports"
        SMALL = "small_airport", "Small airports"
        SEAPLANE = "seaplane_base", "Seaplane bases"
        HELIPORT = "heliport", "Heliports"
        BALLOON = "balloonport", "Balloonports"

    ident = models.CharField(max_length=10, unique=True)
    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=100)
    latitude = models.FloatField()
    longitude = models.FloatField()
    elevation_ft = models.IntegerField(null=True)
    country = models.CharField(max_length=2, db_index=True)
    region = models.CharField(max_length=10)
    municipality = models.CharField(max_length=60, blank=True)
    iata_code = models.CharField(max_length=3, blank=True)

    def __str__(self):
        return self.name


class SourceFile(models.Model):
    """A file of `data/` to import."""

    name = models.CharField(max_length=60, unique=True)
    rows = models.PositiveIntegerField()

    def __str__(self):
        return self.name


class Chunk(models.Model):
    """The outcome of one import task."""

    source = models.ForeignKey(SourceFile, models.CASCADE, related_name="chunks")
    start = models.PositiveIntegerField()
    imported = models.PositiveIntegerField()
    rejected = models.PositiveIntegerField()
    seconds = models.FloatField()

    class Meta:
        ordering = ["source", "start"]
        constraints = [models.UniqueConstraint(fields=["source", "start"], name="one_outcome_per_chunk")]

    def __str__(self):
        return f"{self.source} from row {self.start}"


class Rejection(models.Model):
    """A row that was not imported, and why."""

    source = models.ForeignKey(SourceFile, models.CASCADE, related_name="rejections")
    line = models.PositiveIntegerField()
    ident = models.CharField(max_length=20)
    reason = models.CharField(max_length=300)

    class Meta:
        ordering = ["source", "line"]
        constraints = [models.UniqueConstraint(fields=["source", "line"], name="one_rejection_per_line")]

    def __str__(self):
        return f"{self.source}, line {self.line}: {self.reason}"


class Summary(models.Model):
    """What all imported places have in common; there is one row."""

    places = models.PositiveIntegerField()
    countries = models.PositiveIntegerField()
    highest = models.ForeignKey(Place, models.SET_NULL, null=True, related_name="+")
    kinds = models.JSONField(default=list)
    map = models.FileField(upload_to="maps")

    def __str__(self):
        return f"{self.places} places in {self.countries} countries"


class Page(models.Model):
    """An address of this site, and what came back from it."""

    url = models.URLField(unique=True)
    status = models.PositiveSmallIntegerField(null=True)
    bytes = models.PositiveIntegerField(null=True)
    seconds = models.FloatField(null=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.url

    @property
    def path(self):
        return urlsplit(self.url).path


class Delivery(models.Model):
    """A report for a receiver that hangs up a few times before it listens."""

    name = models.CharField(max_length=60, unique=True)
    result_id = models.CharField(max_length=64, blank=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.name


class Attempt(models.Model):
    """One attempt at a delivery."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=100)
    at = models.DateTimeField()

    class Meta:
        ordering = ["delivery", "number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="one_row_per_attempt")]

    def __str__(self):
        return f"{self.delivery}, attempt {self.number}: {self.outcome}"
