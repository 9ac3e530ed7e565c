"""Tells Django about Mainspring."""

from django.apps import AppConfig


class MainspringConfig(AppConfig):
    name = "mainspring"
    label = "mainspring"
    verbose_name = "Mainspring"

    def ready(self) -> None:
        from mainspring.checks import register_checks

        register_checks()
