"""Photos and what is known of their colours."""

from django.db import models
from django.urls import reverse


class Photo(models.Model):
    """A picture; everything but its name and file is filled in by the task."""

    class Status(models.TextChoices):
        NEW = "new"
        DONE = "done"

    slug = models.SlugField(unique=True)
    file = models.FileField(upload_to="originals")
    thumbnail = models.FileField(upload_to="thumbnails", blank=True)
    width = models.PositiveIntegerField(null=True)
    height = models.PositiveIntegerField(null=True)
    mean_colour = models.CharField(max_length=7, blank=True)
    palette = models.JSONField(default=list)
    status = models.CharField(max_length=8, choices=Status, default=Status.NEW)

    class Meta:
        ordering = ["slug"]

    def __str__(self):
        return self.slug.replace("-", " ").title()

    def get_absolute_url(self):
        return reverse("photo", args=[self.slug])
