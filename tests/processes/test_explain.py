"""Why a job does not run, by what real workers say of themselves."""

from mainspring.explain import explain
from tests.app import tasks
from tests.processes.conftest import rename, wait_until


def code_of(result, broker):
    return explain(broker, result.id).code


def test_what_workers_serve_and_cannot_run(start_worker, broker):
    """Which queues, which kinds, and what they have found that they cannot import."""
    ready, elsewhere, late = tasks.noop.enqueue(), tasks.slow.enqueue(1), tasks.async_noop.enqueue()
    assert {code_of(result, broker) for result in (ready, elsewhere, late)} == {"no_worker"}
    gone = tasks.echo.enqueue(1)
    rename(broker, gone.id, "tests.app.tasks.gone")
    worker = start_worker("--queues", "default,mail", "--async", "0")
    wait_until(lambda: broker.get(ready.id).state == "succeeded")

    assert code_of(ready, broker) == "succeeded"
    assert explain(broker, elsewhere.id).data == {"queue": "slow", "served": ["default", "mail"]}
    assert code_of(late, broker) == "task_not_served"
    wait_until(lambda: explain(broker, gone.id).data.get("workers"))
    assert code_of(gone, broker) == "unknown_task"
    worker.terminate()
    worker.wait()
    assert code_of(late, broker) == "no_worker"
