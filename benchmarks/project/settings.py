"""A project with two tasks; the benchmarks say in the environment where its database is."""

import json
import os

INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "mainspring", "benchmarks.project"]
DATABASES = {"default": json.loads(os.environ["BENCHMARK_DATABASE"])}
TASKS = {"default": {"BACKEND": "mainspring.backends.DatabaseBackend"}}
SECRET_KEY = "only for benchmarks"
USE_TZ = True
