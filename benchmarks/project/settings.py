"""A project with a few tasks; the benchmarks say in the environment where its database is, and its Redis."""

import json
import os

INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "mainspring", "benchmarks.project"]
DATABASES = {"default": json.loads(os.environ["BENCHMARK_DATABASE"])}
TASKS = {"default": {"BACKEND": "mainspring.backends.DatabaseBackend"}}
if url := os.environ["BENCHMARK_REDIS"]:
    TASKS = {"default": {"BACKEND": "mainspring.backends.RedisBackend", "OPTIONS": {"url": url}}}
SECRET_KEY = "only for benchmarks"
USE_TZ = True
