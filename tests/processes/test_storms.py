"""Short storms against the database under test; `make torture` raises longer ones, of every kind."""

import pytest

from tests.torture import report
from tests.torture.checker import violations
from tests.torture.storm import Storm

SECONDS = 7


@pytest.mark.storm
@pytest.mark.parametrize("scenario", ["group", "children", "supervisor", "server", "term"])
def test_a_storm_breaks_no_promise(scenario, transactional_db, request):
    """Workers that are killed under load lose nothing, and blame nobody without cause."""
    server = request.getfixturevalue("server") if scenario == "server" else None
    outcome = Storm(scenario, seconds=SECONDS, server=server).run()
    print(report.HEAD, report.line(outcome), sep="\n")

    found = violations(outcome)
    assert not found, report.story(found, outcome)
