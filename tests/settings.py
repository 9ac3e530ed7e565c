"""The settings of the tests; MAINSPRING_TEST_DB is sqlite, postgresql, mariadb, redis or redis-cluster."""

import os
from typing import Any

import django

from tests import servers, wall_clock
from tests.processes import statements

wall_clock.follow_file()

# Where the jobs of the backend under test are, and in which database the project's own rows are.
STORE, _, CLUSTER = os.environ.get("MAINSPRING_TEST_DB", "sqlite").partition("-")
DATABASE = "sqlite" if STORE == "redis" else STORE

# pytest-django reads the settings before any conftest, so that the server is started here.
try:
    REDIS_URL = (
        servers.redis_url(os.environ["MAINSPRING_TEST_DB"]) if STORE == "redis" else None
    )  # first: it asks whose the environment is
    DATABASES = servers.databases(DATABASE)
    MISSING = None
except servers.ServerMissing as error:
    DATABASES = servers.databases("sqlite")
    REDIS_URL, MISSING = None, str(error)

if statements.ENVIRONMENT in os.environ:
    statements.trace(os.environ[statements.ENVIRONMENT])

# Where Django's own tasks are, which is also the name of their logger.
DJANGO_TASKS = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
    "mainspring",
    "tests.app",
    "tests.torture",
]

TASKS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": f"mainspring.backends.{'DatabaseBackend' if REDIS_URL is None else 'RedisBackend'}",
        "QUEUES": ["default", "mail", "slow"],
        "OPTIONS": {
            **({} if REDIS_URL is None else {"url": REDIS_URL}),
            **({"site": os.environ["MAINSPRING_TEST_SITE"]} if "MAINSPRING_TEST_SITE" in os.environ else {}),
        },
    },
    "memory": {
        "BACKEND": "mainspring.backends.MemoryBackend",
        "QUEUES": ["default", "mail", "slow"],
    },
    "immediate": {"BACKEND": f"{DJANGO_TASKS}.backends.immediate.ImmediateBackend"},
}

USE_TZ = True
SECRET_KEY = "only for tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
