"""The state machine on its own: what each move changes, and which moves are illegal."""

import json

import pytest

from mainspring import job as machine
from mainspring.job import ENDS, IDLE, LIVE, MAX_KEPT, MOVES, IllegalMove, Job, State

AT = 1_767_225_600_000_000
LATER = AT + 5_000_000
ERROR = machine.error_entry("builtins.ValueError", "ValueError: boom", attempt=1)


def new(**facts):
    usual = {"task_path": "app.tasks.add", "arguments": "{}", "queue_name": "default", "priority": 0, "at": AT}
    return machine.new_job(**usual | facts)


def in_state(state, **facts):
    """Return a job in any state, with what every move needs."""
    return new()._replace(state=state, token=7, worker_id="w1", due_at=AT, last_attempted_at=AT, **facts)


def running(**facts):
    return machine.claim(new(**facts), "w1", 7, LATER)


# What a new job is.


def test_new_job_is_ready():
    """Without `run_after` a job is ready and lines up by priority and the time it was enqueued."""
    job = new(priority=10)

    assert (job.state, job.enqueued_at, job.rank) == (State.READY, AT, machine.rank_of(10, AT))
    assert (job.run_after, job.due_at, job.token, job.attempts) == (None, None, None, 0)


def test_new_job_for_later_is_deferred():
    """A job whose time is to come has no place in the line, only a moment when it falls due."""
    job = new(run_after=LATER)

    assert (job.state, job.rank, job.due_at, job.run_after) == (State.DEFERRED, None, LATER, LATER)


@pytest.mark.parametrize("run_after", [AT, AT - 1, 0, -1])
def test_new_job_whose_time_has_come_is_ready(run_after):
    """A `run_after` that has passed keeps nobody waiting and wins no better place."""
    job = new(run_after=run_after)

    assert (job.state, job.rank, job.due_at, job.run_after) == (State.READY, new().rank, None, run_after)


def test_new_job_with_an_id():
    """An id that is given is kept; otherwise each job gets its own."""
    assert new(id="slot-1").id == "slot-1"
    assert new().id != new().id


# The line.


def test_rank_puts_priority_before_age():
    """A higher priority goes first however young; within one priority the older goes first."""
    century = 100 * 365 * 86_400 * 1_000_000
    line = [(100, AT + century // 2), (1, AT), (0, AT - 1), (0, AT), (-1, 0), (-100, AT)]

    ranks = [machine.rank_of(priority, moment) for priority, moment in line]

    assert ranks == sorted(ranks)


def test_rank_fits_the_column():
    """The last place of all, in the year 2112, still fits a signed 64-bit column."""
    assert machine.rank_of(100, 0) >= 0
    assert machine.rank_of(-100, (1 << machine.TIME_BITS) - 1, alone=True) < 1 << 63


def test_rank_of_those_who_run_alone():
    """They stand behind all others, in an order of their own, and keep the moment in their rank."""
    last = machine.rank_of(-100, (1 << machine.TIME_BITS) - 1)
    line = [last, *(machine.rank_of(*place, alone=True) for place in [(100, AT), (0, AT), (0, LATER), (-100, 0)])]

    assert line == sorted(line)
    assert last < machine.ALONE <= line[1]
    assert machine.in_line_since(line[1]) == AT


# The moves.


def test_promote():
    """A promoted job lines up as if it had been enqueued when it fell due."""
    job = machine.promote(new(run_after=LATER, priority=5))

    assert (job.state, job.rank, job.due_at) == (State.READY, machine.rank_of(5, LATER), None)


def test_claim():
    """A claimed job names its worker, token and time, and keeps its place for the case that it goes back."""
    before = new()

    job = machine.claim(before, "w1", 7, LATER)

    facts = {"worker_id": "w1", "token": 7, "last_attempted_at": LATER}
    assert job == before._replace(state=State.RUNNING, **facts)


def test_succeed():
    """Success takes the job out of the line, with its result, one attempt more and its times."""
    job = machine.succeed(running(), '"done"', started_at=LATER + 1, at=LATER + 2)

    assert (job.state, job.result, job.attempts, job.rank) == (State.SUCCEEDED, '"done"', 1, None)
    assert (job.started_at, job.last_attempted_at, job.finished_at) == (LATER + 1, LATER + 1, LATER + 2)
    assert (job.worker_ids, job.errors) == ('["w1"]', "[]")


@pytest.mark.parametrize("state", sorted(ENDS - {State.SUCCEEDED}))
def test_fail(state):
    """Any other end adds an error to the history."""
    job = machine.fail(running(), ERROR, started_at=LATER + 1, at=LATER + 2, state=state)

    assert (job.state, job.result, job.attempts, job.finished_at) == (state, None, 1, LATER + 2)
    assert machine.decode_list(job.errors) == [ERROR]


def test_retry_later():
    """A retry with a delay waits outside the line; the attempt, its error and its worker are recorded."""
    job = machine.retry(running(), ERROR, started_at=LATER + 1, at=LATER + 2, due_at=LATER + 10)

    assert (job.state, job.rank, job.due_at, job.attempts) == (State.DEFERRED, None, LATER + 10, 1)
    assert (job.started_at, job.last_attempted_at, job.finished_at) == (LATER + 1, LATER + 1, None)
    assert (job.errors, job.worker_ids, job.worker_id) == (json.dumps([ERROR]), '["w1"]', "")
    assert job.token == 7


@pytest.mark.parametrize("due_at", [LATER, LATER - 1])
def test_retry_at_once(due_at):
    """A retry that is due already lines up at its due time, not in the old place."""
    job = machine.retry(running(), ERROR, started_at=LATER, at=LATER, due_at=due_at)

    assert (job.state, job.rank, job.due_at) == (State.READY, machine.rank_of(0, due_at), None)


def test_first_start_is_kept():
    """`started_at` is the start of the first attempt, `last_attempted_at` that of the last."""
    job = machine.retry(running(), ERROR, started_at=LATER, at=LATER, due_at=LATER)
    job = machine.claim(job, "w2", 8, LATER + 5)
    job = machine.succeed(job, None, started_at=LATER + 6, at=LATER + 7)

    assert (job.started_at, job.last_attempted_at) == (LATER, LATER + 6)
    assert (job.attempts, job.worker_ids) == (2, '["w1", "w2"]')


def test_release():
    """A released job is as it was before its claim; only the token stays, to know a repeated release by."""
    before = new()

    assert machine.release(running(id=before.id)) == before._replace(token=7)


def test_release_between_attempts():
    """A release counts nothing and forgets nothing."""
    job = machine.retry(running(), ERROR, started_at=LATER, at=LATER, due_at=LATER)

    released = machine.release(machine.claim(job, "w2", 8, LATER + 5))

    assert released._replace(token=7, last_attempted_at=LATER) == job
    assert released.last_attempted_at is not None


def test_interrupt():
    """An interruption is counted by itself and costs neither an attempt nor a crash."""
    job = machine.interrupt(running())

    assert (job.state, job.rank, job.worker_id) == (State.READY, new().rank, "")
    assert (job.attempts, job.crashes, job.interruptions) == (0, 0, 1)


def test_crash():
    """A crash below the limit puts the job among those that run alone, with its moment and one crash more."""
    job = machine.crash(running(), ERROR, LATER, max_crashes=2)

    assert (job.state, job.worker_id, job.finished_at) == (State.READY, "", None)
    assert job.rank == machine.rank_of(0, AT, alone=True)
    assert (job.attempts, job.crashes, machine.decode_list(job.errors)) == (0, 1, [ERROR])


@pytest.mark.parametrize(
    "move",
    [
        machine.release,
        machine.interrupt,
        lambda job: machine.crash(job, ERROR, LATER, max_crashes=5),
        lambda job: machine.retry(job, ERROR, started_at=LATER, at=LATER, due_at=LATER),
        lambda job: machine.promote(machine.retry(job, ERROR, started_at=LATER, at=LATER, due_at=LATER + 1)),
    ],
    ids=["release", "interrupt", "crash", "retry", "retry later"],
)
def test_once_crashed_always_alone(move):
    """Whatever puts a job back that crashed before, it runs alone."""
    crashed = machine.crash(running(), ERROR, LATER, max_crashes=5)

    job = move(machine.claim(crashed, "w2", 8, LATER))

    assert (job.state, job.rank >= machine.ALONE) == (State.READY, True)


@pytest.mark.parametrize("max_crashes", [0, 1])
def test_last_crash(max_crashes):
    """The crash that reaches the limit ends the job; with a limit of 0 that is the first, as with 1."""
    job = machine.crash(running(), ERROR, LATER + 9, max_crashes=max_crashes)

    assert (job.state, job.rank, job.finished_at) == (State.QUARANTINED, None, LATER + 9)
    assert (job.attempts, job.crashes, job.worker_ids) == (0, 1, '["w1"]')
    assert (job.started_at, job.last_attempted_at) == (LATER, LATER)


@pytest.mark.parametrize("state", sorted(IDLE))
def test_cancel(state):
    """A cancelled job leaves the line and says why; nothing is counted."""
    job = machine.cancel(in_state(state), LATER)

    (error,) = machine.decode_list(job.errors)
    assert (job.state, job.rank, job.due_at, job.finished_at) == (State.CANCELLED, None, None, LATER)
    assert error["exception_class_path"] == "mainspring.exceptions.Cancelled"
    assert (job.attempts, job.started_at) == (0, None)


# Legal and illegal.

CALLS = {
    "promote": (State.READY, machine.promote),
    "claim": (State.RUNNING, lambda job: machine.claim(job, "w2", 9, AT)),
    "succeed": (State.SUCCEEDED, lambda job: machine.succeed(job, None, AT, AT)),
    "fail": (State.FAILED, lambda job: machine.fail(job, ERROR, AT, AT)),
    "discard": (State.DISCARDED, lambda job: machine.fail(job, ERROR, AT, AT, State.DISCARDED)),
    "retry": (State.READY, lambda job: machine.retry(job, ERROR, AT, AT, AT)),
    "retry later": (State.DEFERRED, lambda job: machine.retry(job, ERROR, AT, AT, LATER)),
    "release": (State.READY, machine.release),
    "interrupt": (State.READY, machine.interrupt),
    "crash": (State.READY, lambda job: machine.crash(job, ERROR, AT, 2)),
    "last crash": (State.QUARANTINED, lambda job: machine.crash(job, ERROR, AT, 1)),
    "cancel": (State.CANCELLED, lambda job: machine.cancel(job, AT)),
}


@pytest.mark.parametrize("state", sorted(State))
@pytest.mark.parametrize(("target", "move"), CALLS.values(), ids=CALLS)
def test_moves_follow_the_table(move, target, state):
    """Each move works from the states that the table lets become its target and is refused from all others."""
    if target in MOVES[state]:
        assert move(in_state(state)).state == target
    else:
        with pytest.raises(IllegalMove, match=f"is {state}; it cannot become {target}"):
            move(in_state(state))


@pytest.mark.parametrize("state", sorted(State))
def test_only_a_ready_job_is_claimed(state):
    """Nobody runs a job that waits, that somebody else runs, or that has ended."""
    assert (State.RUNNING in MOVES[state]) == (state == State.READY)


@pytest.mark.parametrize("state", sorted(LIVE))
@pytest.mark.parametrize("end", [State.SUCCEEDED, State.FAILED, State.QUARANTINED])
def test_only_a_running_job_ends_by_running(state, end):
    """A job cannot succeed, fail or be quarantined without having run."""
    assert (end in MOVES[state]) == (state == State.RUNNING)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_ends_are_final(end):
    """No move leads out of an end."""
    assert MOVES[end] == frozenset()
    assert end.is_end


def test_every_state_is_live_or_an_end():
    """States fall into live and ended ones; running is the only live state that is not idle."""
    assert set(State) == LIVE | ENDS == set(MOVES)
    assert not LIVE & ENDS
    assert {State.RUNNING} == LIVE - IDLE
    assert not any(state.is_end for state in LIVE)


def test_every_state_can_be_reached_and_left():
    """Each state is entered by some move or by a new job, and each live one leads to an end."""
    entered = {State.READY, State.DEFERRED, State.WAITING}.union(*MOVES.values())

    assert entered == set(State)
    assert all(MOVES[state] & ENDS for state in LIVE)


def test_a_move_makes_a_new_job():
    """Moves leave the job they are given as it is."""
    before = new()
    copy = Job(*before)

    machine.claim(before, "w1", 7, AT)

    assert before == copy


# What is kept.


def test_history_is_capped():
    """Errors and worker ids keep the last ones; the attempts are counted in full."""
    job = new()
    for n in range(MAX_KEPT + 10):
        job = machine.claim(job, f"w{n}", n + 1, AT)
        error = machine.error_entry("builtins.ValueError", f"error {n}")
        job = machine.retry(job, error, started_at=AT, at=AT, due_at=AT)

    assert job.attempts == MAX_KEPT + 10
    assert machine.decode_list(job.worker_ids) == [f"w{n}" for n in range(10, MAX_KEPT + 10)]
    assert [error["traceback"] for error in machine.decode_list(job.errors)][-1] == f"error {MAX_KEPT + 9}"
    assert len(machine.decode_list(job.errors)) == MAX_KEPT


@pytest.mark.parametrize("text", ["{broken", "", None, "null", '{"a": 1}', "[" * 100_000, f"[{'9' * 5_000}]"])
def test_damaged_history(text):
    """A history that cannot be read reads as empty, and a new entry can still be added."""
    assert machine.decode_list(text) == []

    job = machine.fail(in_state(State.RUNNING, errors=text, worker_ids=text), ERROR, AT, AT)

    assert machine.decode_list(job.errors) == [ERROR]


def test_arguments_are_not_read():
    """No move looks into arguments or results: what cannot be decoded goes round all the same."""
    job = running(arguments="[" * 100_000)

    assert machine.succeed(job, "{broken", AT, AT).arguments == job.arguments
