"""Django's settings for the systems that need them; the environment says which system and which database."""

import json
import os

SYSTEM = os.environ["PEER_SYSTEM"]
SECRET_KEY = "only for benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["PEER_DATABASE"]) | {"CONN_MAX_AGE": None}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]

if SYSTEM.startswith("mainspring"):
    INSTALLED_APPS += ["mainspring"]
    OPTIONS = {"task_modules": ["peer_app"]}
    TASKS = {"default": {"BACKEND": "mainspring.backends.DatabaseBackend", "OPTIONS": OPTIONS}}
    if SYSTEM == "mainspring-redis":
        OPTIONS["url"] = os.environ["PEER_REDIS"]
        TASKS["default"]["BACKEND"] = "mainspring.backends.RedisBackend"
elif SYSTEM.startswith("django-ox"):
    INSTALLED_APPS += ["django_ox"]
    TASKS = {"default": {"BACKEND": "django_ox.backend.OxBackend"}}
elif SYSTEM.startswith("django-tasks-db"):
    INSTALLED_APPS += ["django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
elif SYSTEM == "django-q2":
    INSTALLED_APPS += ["django_q"]
    Q_CLUSTER = {
        "name": "storm",
        "orm": "default",
        "workers": 2,
        "timeout": 5,
        "retry": 8,
        "ack_failures": False,
        "max_attempts": 0,
        "bulk": 1,
        "queue_limit": 4,
    }
