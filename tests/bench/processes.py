"""Functions run in fresh processes, alone or several at once.

Each process is forked from a server that has imported the libraries and done nothing else: it starts in a moment, has the
allocator settings of any Python process, and no measurement inherits the heap or the threads of an earlier one.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

Ready = Callable[[], None]
"""Called once by a function that is ready to be measured: returns when all that run beside it are."""
PATIENCE = 180.0
"""Seconds that processes wait for each other."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["affect.engine.work", "affect.systems.ladder", "affect.systems.multiview", "affect.systems.floors"]
)


def together(jobs: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
    """Results of `function(ready, *arguments)` for all jobs, run side by side in a process each."""
    barrier = _CONTEXT.Barrier(len(jobs))
    started = []
    for function, arguments in jobs:
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_run, args=(theirs, barrier, function, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    answers = [_receive(ours) for _, ours in started]
    for process, _ in started:
        process.join()
    for failed, answer in answers:
        if failed:
            raise RuntimeError(f"a measured process failed:\n{answer}")
    return [answer for _, answer in answers]


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `function(ready, *arguments)`, run in a process of its own."""
    return together([(function, arguments)])[0]


def _receive(connection: Connection) -> tuple[bool, Any]:
    try:
        return connection.recv()
    except EOFError:
        return True, "it ended without an answer"


def _run(answer: Connection, barrier: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer.send((False, function(lambda: barrier.wait(PATIENCE), *arguments)))
    except BaseException:
        barrier.abort()
        answer.send((True, traceback.format_exc()))
