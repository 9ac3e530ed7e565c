"""Settings of the example site: SQLite, two apps, one task backend."""

import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / "data"
WORK_DIR = BASE_DIR / ".demo"
WORK_DIR.mkdir(exist_ok=True)

SECRET_KEY = "for the example site only"
# runserver serves static files only with DEBUG; a worker with DEBUG would keep every query in memory.
DEBUG = "runserver" in sys.argv
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "mainspring",
    "desksite",
    "photos",
    "desk",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "desksite.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": WORK_DIR / "desk.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

TASKS = {
    "default": {
        "BACKEND": "mainspring.backends.DatabaseBackend",
        "QUEUES": ["default", "photos", "data"],
        "OPTIONS": {},
    }
}

# A job may run twice, so a thumbnail is written over the one before instead of beside it.
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"allow_overwrite": True},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
MEDIA_ROOT = WORK_DIR / "media"
MEDIA_URL = "/media/"
STATIC_URL = "/static/"

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
USE_THOUSAND_SEPARATOR = True
USE_TZ = True
TIME_ZONE = "UTC"
