"""Workers that meet the database of another site."""

import os
import subprocess
import sys

import pytest

from tests.app import tasks
from tests.processes.conftest import end_of

PRODUCTION = {"MAINSPRING_TEST_SITE": "production"}
STAGING = {"MAINSPRING_TEST_SITE": "staging"}


@pytest.fixture
def of_production(start_worker, broker):
    """The store of a site whose worker has run one job and stopped."""
    worker = start_worker(**PRODUCTION)
    end_of(tasks.noop.enqueue(), broker)
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.usefixtures("of_production")
@pytest.mark.parametrize("environment", [STAGING, {}])
def test_the_worker_of_another_site_is_refused(start_worker, broker, environment):
    """Nothing of a copied database runs; a setting that was forgotten is no permission either."""
    waiting = tasks.noop.enqueue()
    worker = start_worker(**environment)

    assert worker.wait() == 1
    assert "belongs to the site 'production'" in worker.output
    assert "mainspring adopt" in worker.output
    assert broker.get(waiting.id).state == "ready"


@pytest.mark.usefixtures("of_production")
def test_a_store_can_be_taken_over(start_worker, broker):
    """On purpose, by a command."""
    adopt = [sys.executable, "-m", "django", "mainspring", "adopt", "--backend", "default", "--skip-checks"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | STAGING
    done = subprocess.run(adopt, env=environment, capture_output=True, text=True, check=True)
    start_worker(**STAGING)

    assert "belonged to the site 'production'; it now belongs to the site 'staging'" in done.stdout
    assert end_of(tasks.noop.enqueue(), broker).state == "succeeded"


@pytest.mark.usefixtures("of_production")
def test_its_own_site_finds_it_as_it_was(start_worker, broker):
    """Also with the next worker."""
    start_worker(**PRODUCTION)

    assert end_of(tasks.noop.enqueue(), broker).state == "succeeded"
