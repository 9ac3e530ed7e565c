"""The settings under which Django's own tests run; their package `tasks` is an app, as in Django's own runner."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tasks"]
