"""The settings of the tests; MAINSPRING_TEST_DB is sqlite (the default), postgresql or mariadb."""

import os

import django

from tests import servers

DATABASE = os.environ.get("MAINSPRING_TEST_DB", "sqlite")

# pytest-django reads the settings before any conftest, so that the server is started here.
try:
    DATABASES = servers.databases(DATABASE)
    MISSING = None
except servers.ServerMissing as error:
    DATABASES = servers.databases("sqlite")
    MISSING = str(error)

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
    "mainspring",
    "tests.app",
]

TASKS = {
    "default": {
        "BACKEND": "mainspring.backends.DatabaseBackend",
        "QUEUES": ["default", "mail", "slow"],
    },
    "memory": {
        "BACKEND": "mainspring.backends.MemoryBackend",
        "QUEUES": ["default", "mail", "slow"],
    },
}

USE_TZ = True
SECRET_KEY = "only for tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
