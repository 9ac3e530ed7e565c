from django.db import models


class Note(models.Model):
    """What a task leaves behind, to see from outside whether and how often it ran."""

    text = models.TextField()

    def __str__(self):
        return self.text
