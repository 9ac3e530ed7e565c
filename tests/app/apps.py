import os

from django.apps import AppConfig


class TestAppConfig(AppConfig):
    name = "tests.app"
    label = "app"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        """Write down the ends of jobs that are announced, where a test asks for it."""
        if "NOTE_ENDS" in os.environ:
            from mainspring.compat import task_finished

            task_finished.connect(_note)


def _note(sender, task_result, **kwargs):
    from tests.app.models import Note

    Note.objects.create(text=f"{task_result.id} {task_result.state}")
