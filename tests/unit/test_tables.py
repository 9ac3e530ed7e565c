"""The broker's names of tables and columns, and Django's models of the same tables."""

import pytest
from django.apps import apps
from django.core.management import call_command

from mainspring.brokers.database import tables

COLUMNS = {
    tables.JOB: (*tables.JOB_COLUMNS, "turn"),  # which is the store's own business
    tables.FINISHED: tables.FINISHED_COLUMNS,
    tables.LIMIT: tables.LIMIT_COLUMNS,
    tables.HOLD: tables.HOLD_COLUMNS,
    tables.LEASE: tables.LEASE_COLUMNS,
    tables.FENCE: tables.FENCE_COLUMNS,
    tables.WORKER: tables.WORKER_COLUMNS,
    tables.OUTBOX: ("id", "alias", "job", "created_at"),
    tables.WAITER: ("id", "job_id", "expires_at"),
    tables.INSTALLATION: ("id", "name", "adopted_at"),
    tables.REACH: tables.REACH_COLUMNS,
    tables.QUESTION: (*tables.QUESTION_COLUMNS, "asked_at", "answer"),
}
MODELS = list(apps.get_app_config("mainspring").get_models())


def test_tables():
    """There is a model for each table that the broker writes."""
    assert {model._meta.db_table for model in MODELS} == set(COLUMNS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_columns(model):
    """Model and broker know the same columns."""
    assert {field.column for field in model._meta.fields if field.column} == set(COLUMNS[model._meta.db_table])


def test_migrations(transactional_db):
    """The migrations make the tables that the models describe."""
    call_command("makemigrations", "mainspring", check=True, dry_run=True, verbosity=0)
