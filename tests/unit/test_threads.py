"""The threads that run sync jobs."""

import threading

from mainspring.worker.threads import SHORT, Threads

SOON = 5.0


def make_threads(size, run):
    idle = threading.Event()
    return Threads(size, run, idle.set), idle


def test_short_items_are_run_in_series_by_one_thread():
    """Handing no-op jobs from thread to thread costs more than running them."""
    seen = []
    threads, idle = make_threads(4, lambda item, slot: seen.append((item, slot)))

    threads.put(range(100))

    assert idle.wait(SOON)
    assert seen == [(item, 0) for item in range(100)]


def test_another_thread_takes_the_row_when_an_item_lasts():
    """A short job does not wait behind a long one while a thread is free."""
    release, begun, done = threading.Event(), threading.Event(), threading.Event()

    def run(item, slot):
        if item == "short":
            done.set()
        else:
            begun.set()
            release.wait(SOON)

    threads, _ = make_threads(2, run)
    threads.put(["long", "short"])
    assert begun.wait(SOON)
    threads.nudge(1.0)
    assert not done.is_set()
    threads.nudge(1.0 + 2 * SHORT)

    assert done.wait(SOON)
    release.set()


def test_a_late_nudge_does_not_say_that_the_row_stands_still_for_whom_it_calls():
    """Or the worker would give back at once what another thread has just been called for."""
    release, begun = threading.Event(), threading.Event()

    def run(item, slot):
        begun.set()
        release.wait(SOON)

    threads, _ = make_threads(2, run)
    threads.put(["a", "b", "c"])
    assert begun.wait(SOON)
    threads.nudge(1.0)

    assert threads.nudge(1.0 + 100 * SHORT) == 0.0
    assert threads.nudge(1.0 + 100 * SHORT) == 0.0  # it begins to count
    release.set()


def test_what_has_not_begun_can_be_taken_back():
    """Only the item that runs stays, and what is of another kind."""
    release, begun, idle_items = threading.Event(), threading.Event(), ["b", 2, "c"]

    def run(item, slot):
        begun.set()
        release.wait(SOON)

    threads, _ = make_threads(1, run)
    threads.put(["a", *idle_items])
    assert begun.wait(SOON)

    assert threads.take_back(str) == ["b", "c"]
    assert threads.waiting == 1
    release.set()


def test_a_row_that_is_filled_after_a_pause_does_not_count_as_standing_still():
    """The pause before the row was filled says nothing about the items in it."""
    release = threading.Event()
    threads, _ = make_threads(1, lambda item, slot: release.wait(SOON))
    threads.nudge(0.0)

    threads.put(["a", "b"])

    assert threads.nudge(100.0) == 0.0
    release.set()


def test_an_error_in_the_runner_does_not_end_the_thread(caplog):
    """Whatever escapes is logged, and the next item runs."""
    seen = []

    def run(item, slot):
        if item == "bad":
            raise IndexError("escaped")
        seen.append(item)

    threads, idle = make_threads(1, run)
    threads.put(["bad", "good"])

    assert idle.wait(SOON)
    assert seen == ["good"]
    assert "met an error of its own" in caplog.text


def test_threads_end_when_told_to_stop():
    """A stopped pool leaves no thread behind."""
    before = set(threading.enumerate())
    threads, idle = make_threads(1, lambda item, slot: None)
    threads.put(["a"])
    assert idle.wait(SOON)
    mine = set(threading.enumerate()) - before

    threads.stop()

    for thread in mine:
        thread.join(SOON)
        assert not thread.is_alive()
