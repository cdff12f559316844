"""What all commands share: exit statuses, mistakes in one sentence, and standard output. Imports nothing that is slow."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from rich.console import Console

from affect.errors import UserError, meant

COMPLETE, FAILED, MISTAKE, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130

PLAIN_WIDTH = 120


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage. Options are written out: `--seed` is not `--seeds`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **given})

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Where words are left over, the parser of the command that they were given to is the one that says so."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            slip = next((word.partition("=")[0] for word in left if word.startswith("--")), "")
            self.error(f"unrecognized arguments: {' '.join(left)}{meant(slip, self._option_string_actions)}")
        return found, left


def stdout() -> Console:
    """Standard output: as wide as its lines where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH, soft_wrap=True)


def heed_termination() -> None:
    """`kill`, a queue's time limit and `ray job stop` end this process as Ctrl-C does. Ray, when it starts, sets a handler
    that prints a stack and dies, so this is said again after that."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def guarded(action: Callable[[], int], prog: str) -> int:
    """`action()` as an exit status: a `UserError` becomes its sentence on stderr."""
    heed_termination()
    try:
        return action()
    except UserError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; what was finished is kept, and the same command goes on.", file=sys.stderr)
        return INTERRUPTED
