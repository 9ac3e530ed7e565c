"""Where running code stands: stacks of threads and of coroutines, from the task's own first line on."""

import asyncio
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

OURS = "mainspring.worker."


def stack_of(thread_id: int, task: "asyncio.Future[Any] | None" = None) -> str:
    """
    Return the stack of a thread or, where `task` is given, of that asyncio Task on the loop of the thread.

    The innermost call stands last, as in a traceback.
    """
    frames = None if task is None else _frames_of_coroutine(task)
    if frames is None:
        frame = sys._current_frames().get(thread_id)
        frames = [] if frame is None else [(each, number) for each, number in traceback.walk_stack(frame)][::-1]
    lines = traceback.StackSummary.extract(iter(_without_ours(frames))).format()
    return "".join(lines) or "  (it has no Python code to show)\n"


def _frames_of_coroutine(task: "asyncio.Future[Any]") -> list[tuple[FrameType, int]] | None:
    """Return the frames of a task that waits for something, None for one whose code is executing now."""
    coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
    if coroutine is None or getattr(coroutine, "cr_running", False):
        return None
    return [(frame, frame.f_lineno) for frame in _awaiting(coroutine)]


def _awaiting(coroutine: Any) -> Iterator[FrameType]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _without_ours(frames: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Leave out what calls the task."""
    ours = [
        number for number, (frame, _) in enumerate(frames) if str(frame.f_globals.get("__name__")).startswith(OURS)
    ]
    return frames[ours[-1] + 1 :] if ours else frames
