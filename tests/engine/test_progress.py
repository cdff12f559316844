"""What a run says of itself where there is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from affect.engine.progress import Lines, State, Titled


def state(done: int, total: int = 9) -> State:
    return State(done, total, 0, done / total, None, True)


def test_a_log_has_a_line_at_once_then_where_there_is_news_and_a_sign_of_life() -> None:
    out, now = io.StringIO(), [0.0]
    lines = Lines(Console(file=out, width=80), lambda: now[0])
    for second, done in ((0, 0), (3, 1), (11, 1), (25, 1), (70, 1), (71, 1), (80, 2), (81, 3), (82, 3), (83, 9)):
        now[0] = float(second)
        lines.show(state(done))
    said = [int(line.split()[0]) for line in out.getvalue().splitlines()]
    assert said == [0, 1, 1, 3, 9], "at 0 and 11, at 71 as a sign of life, at 81, and at the end"


def test_a_title_says_which_of_several_runs_a_line_is_of() -> None:
    out = io.StringIO()
    Titled(Lines(Console(file=out, width=80)), "refits of MTL").show(state(9))
    assert out.getvalue() == "refits of MTL: 9 of 9 trials\n"
