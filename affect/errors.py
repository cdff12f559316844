"""The one error that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in input or options: one sentence that names the file, the place and the value.

    Commands print the sentence alone and exit with status 2; nothing is written before it is raised. It stays one
    line whatever the file named in it or its content looks like.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join("".join(c if c.isprintable() else " " for c in sentence).split()))


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where one of the `known` words is `word` but for its case or a slip, else nothing."""
    by_case = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.7)
    return f"; did you mean {by_case[close[0]]}?" if close else ""
