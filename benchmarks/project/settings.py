"""A project with a few tasks; the benchmarks say in the environment where its database is, and its Redis."""

import json
import os

INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "mainspring", "benchmarks.project"]
DATABASES = {"default": json.loads(os.environ["BENCHMARK_DATABASE"])}
TASKS = {"default": {"BACKEND": "mainspring.backends.DatabaseBackend"}}
if url := os.environ["BENCHMARK_REDIS"]:
    TASKS = {"default": {"BACKEND": "mainspring.backends.RedisBackend", "OPTIONS": {"url": url}}}
# One more than Django's own would be one more place for every claim to look at.
TASKS["default"]["QUEUES"] = os.environ.get("BENCHMARK_QUEUES", "default").split(",")
SECRET_KEY = "only for benchmarks"
USE_TZ = True
if path := os.environ.get("BENCHMARK_TRACE"):
    # Here and not in an app: a supervisor loads these settings and none of the project's apps.
    from benchmarks.project.trace import follow

    follow(path)
