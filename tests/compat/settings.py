"""The settings under which Django's own tests run; their package `tasks` is an app, as in Django's own runner."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tasks"]

# One of the tests asserts that the system checks have nothing to say.
for database in DATABASES.values():
    if database["ENGINE"].endswith("sqlite3"):
        database["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
