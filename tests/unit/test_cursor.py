"""The cursor: what a claim passes over, and how it finds again what went back there."""

import pytest

from mainspring.brokers.database.cursor import LONGEST, MARGIN, PAUSE, Cursor
from mainspring.brokers.database.store import WHOLE, Span
from mainspring.clock import SECOND
from mainspring.job import new_job, rank_of

NOW = 1_767_225_600 * SECOND
SLOW = 0.1  # seconds that a look at everything took


def job(seconds_ago, priority=0, queue_name="default"):
    at = NOW - seconds_ago * SECOND
    return new_job(task_path="app.add", arguments="{}", queue_name=queue_name, priority=priority, at=at)


@pytest.fixture
def cursor():
    """A cursor that has just looked at everything, and will not do so again for a second."""
    cursor = Cursor()
    assert cursor.spans(["default"], (), 0.0)[0] == [Span("default")]
    cursor.looked(0.0, SLOW)
    return cursor


def spans(cursor, now=SLOW):
    return cursor.spans(["default"], (), now)[0]


def test_goes_on_after_a_full_claim(cursor):
    """A claim that got all it wanted has shown that nothing can be taken before its last job."""
    last = job(10)
    cursor.learn(["default"], [("default", 0)], [job(20), last], 2, NOW, cursor.generation)

    assert spans(cursor) == [Span("default", 0, rank_of(0, 0)), Span("default", last.rank)]


def test_looks_at_other_priorities(cursor):
    """More urgent jobs are always looked for, less urgent ones too."""
    last = job(10, priority=5)
    cursor.learn(["default"], [("default", 5), ("default", 0)], [last], 1, NOW, cursor.generation)

    assert spans(cursor) == [Span("default", 0, rank_of(5, 0)), Span("default", last.rank)]


def test_nothing_left(cursor):
    """A claim that got less than it wanted has shown that nothing can be taken at all, but for what comes late."""
    cursor.learn(["default"], [("default", 5), ("default", 0)], [], 1, NOW, cursor.generation)

    late = NOW - MARGIN
    assert spans(cursor) == [
        Span("default", 0, rank_of(5, 0)),
        Span("default", rank_of(5, late), rank_of(0, 0)),
        Span("default", rank_of(0, late)),
    ]


def test_highest_priority_of_all(cursor):
    """There is nothing before the highest priority."""
    cursor.learn(["default"], [("default", 100)], [], 1, NOW, cursor.generation)

    assert spans(cursor) == [Span("default", rank_of(100, NOW - MARGIN))]


def test_other_queues_are_not_concerned(cursor):
    """What a claim from one queue has shown says nothing of another."""
    cursor.learn(["mail"], [("mail", 0)], [], 1, NOW, cursor.generation)
    cursor.learn(["default"], [("default", 0)], [], 1, NOW + 100 * SECOND, cursor.generation)

    assert spans(cursor)[-1] == Span("default", rank_of(0, NOW + 100 * SECOND - MARGIN))
    assert cursor.spans(["mail"], (), SLOW)[0][-1] == Span("mail", rank_of(0, NOW - MARGIN), WHOLE)


def test_never_goes_back(cursor):
    """What one claim has shown still holds after the next."""
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, cursor.generation)
    cursor.learn(["default"], [], [job(50)], 1, NOW, cursor.generation)

    assert spans(cursor)[-1].low == rank_of(0, NOW - MARGIN)


def test_looks_at_everything_again(cursor):
    """What others put back early is found after ten times as long as such a look takes."""
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, cursor.generation)

    assert spans(cursor, SLOW + PAUSE * SLOW - 0.01) != [Span("default")]
    assert spans(cursor, SLOW + PAUSE * SLOW) == [Span("default")]


def test_looks_at_everything_within_seconds(cursor):
    """However slow a look is, five seconds are the limit."""
    cursor.looked(0.0, 60.0)
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, cursor.generation)

    assert spans(cursor, 60.0) != [Span("default")]
    assert spans(cursor, 60.0 + LONGEST) == [Span("default")]


def test_knows_what_this_process_put_back(cursor):
    """A job that this process puts at an early place is found at once."""
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, cursor.generation)

    cursor.line_up([job(0), job(50, queue_name="mail")], NOW)
    assert spans(cursor) != [Span("default")]

    cursor.line_up([job(50)], NOW)
    assert spans(cursor) == [Span("default")]


def test_fewer_tasks_to_skip(cursor):
    """What was passed over for one set of tasks may be taken for another."""
    cursor.spans(["default"], ["app.gone"], SLOW)
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, cursor.generation)
    assert cursor.spans(["default"], ["app.gone"], SLOW)[0] != [Span("default")]

    assert cursor.spans(["default"], ["app.slow"], SLOW)[0] == [Span("default")]


def test_more_tasks_to_skip(cursor):
    """A look that skips what a full pool has begins where the others are, and leaves them there."""
    cursor.learn(["default"], [("default", 0)], [job(20)], 1, NOW, cursor.generation)
    before = spans(cursor)
    past, generation = cursor.spans(["default"], ["app.slow"], SLOW)
    assert past == before
    cursor.learn(["default"], [("default", 0)], [job(10)], 1, NOW, generation)

    assert spans(cursor) == before


def test_a_look_with_other_tasks_to_skip_teaches_nothing(cursor):
    """Two looks at the same time: the one that ends last has passed over what the other would take."""
    generation = cursor.spans(["default"], ["app.slow"], SLOW)[1]
    cursor.spans(["default"], (), SLOW)
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, generation)

    assert spans(cursor) == [Span("default")]


def test_a_look_during_which_a_job_went_back_teaches_nothing(cursor):
    """It may have begun before the job was there."""
    generation = cursor.spans(["default"], (), SLOW)[1]
    cursor.line_up([job(50)], NOW)
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, generation)

    assert spans(cursor) == [Span("default")]


def test_new_jobs_do_not_keep_a_look_from_teaching(cursor):
    """They stand behind all that it has seen."""
    generation = cursor.spans(["default"], (), SLOW)[1]
    cursor.line_up([job(0)], NOW)
    cursor.learn(["default"], [("default", 0)], [], 1, NOW, generation)

    assert spans(cursor) != [Span("default")]


def test_knows_a_job_that_is_behind_the_clock(cursor):
    """The clock can have been set back since the last look."""
    cursor.learn(["default"], [("default", 0)], [], 1, NOW + 100 * SECOND, cursor.generation)
    cursor.line_up([job(0)], NOW)

    assert spans(cursor) == [Span("default")]
