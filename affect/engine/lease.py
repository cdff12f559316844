"""Exclusive use of a place where no system releases a lock when its holder dies, as on an object store.

A lock is a numbered file that only its holder writes: again and again while it lives, and a last time to say that it is
done. The highest number holds the place. Whoever wants it creates the next number, which the store grants to one alone,
once the highest says that it is done or has been silent for `LEASE` seconds by the taker's own clock. All that this asks
of a store are exclusive creation, which is tried whenever a place is taken, and listings that are up to date; two clocks
are never compared.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from affect.errors import UserError

BEAT = 5.0
"""Seconds between a holder's signs of life."""
LEASE = 20.0
"""Seconds of silence after which a holder is taken for dead."""
POLL = 1.0


class Place(Protocol):
    """What a lock needs of a folder; `affect.engine.files.Folder` says what its methods mean."""

    def names(self, suffix: str) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...

    def create(self, name: str, content: bytes) -> None:
        """Write a file that must not exist: FileExistsError where it does, for all but one of several at once."""


@dataclass(frozen=True)
class Holder:
    """What a lock's file says."""

    host: str
    pid: int
    token: str
    """Unlike that of any other run."""
    beat: int = 0
    done: bool = False

    def __str__(self) -> str:
        return f"{self.host}, pid {self.pid}"


NOBODY = Holder("nobody", 0, "", done=True)


@contextmanager
def held(place: Place, of: str, warn: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold `place`, the locks of the folder that messages call `of`. Gives a function that raises UserError once
    another run has taken over. UserError where another run is at work; finding out takes up to `LEASE` seconds."""
    me = Holder(socket.gethostname(), os.getpid(), secrets.token_hex(8))
    number = _acquire(place, me, of, warn)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(place, number, me, ended, BEAT), daemon=True)
    beating.start()
    try:
        yield lambda: _check(place, me, of)
    finally:
        ended.set()
        beating.join(BEAT)
        with suppress(UserError):  # Out of reach: the next run finds this one silent.
            _renew(place, number, replace(me, done=True))


def is_held(place: Place) -> bool:
    """Whether a living run holds `place`: one that is silent for longer than signs of life are apart does not."""
    seen, deadline = _current(place)[1], time.monotonic() + BEAT + POLL
    while not seen.done and time.monotonic() < deadline:
        time.sleep(POLL)
        if _current(place)[1] != seen:
            return not _current(place)[1].done
    return False


def _acquire(place: Place, me: Holder, of: str, warn: Callable[[str], None]) -> int:
    """The number with which `me` holds `place`."""
    seen: Holder | None = None
    since = 0.0
    while True:
        highest, holder = _current(place)
        if not holder.done:
            if seen is None:
                seen, since = holder, time.monotonic()
                warn(f"{of}: was left locked by {holder}; waiting up to {LEASE:g} s to see whether that run is alive.")
            if holder != seen:
                raise UserError(f"{of}: is in use by another run ({holder}); wait for it or use another --results.")
            if time.monotonic() - since < LEASE:
                time.sleep(POLL)
                continue
        with suppress(FileExistsError):
            place.create(str(highest + 1), _content(me))
        # Looking decides: a put may have arrived although its answer did not, and who looked long ago may create a
        # number that has been cleared away since, below a higher one.
        if _current(place)[1] == me:
            _refuse_lax(place, highest + 1, me, of)
            for number in _numbers(place):
                if number <= highest:
                    place.remove(str(number))
            return highest + 1


def _refuse_lax(place: Place, number: int, me: Holder, of: str) -> None:
    """UserError where a file that exists can be created again: there two runs would hold the place."""
    try:
        place.create(str(number), _content(me))
    except FileExistsError:
        return
    _renew(place, number, replace(me, done=True))
    raise UserError(f"{of}: its server cannot keep two runs apart (it creates what exists already); use another one.")


def _beat(place: Place, number: int, me: Holder, ended: threading.Event, seconds: float) -> None:
    """Signs of life, `seconds` apart, until `ended`."""
    for beat in itertools.count(1):
        if ended.wait(seconds):
            return
        with suppress(UserError):  # Out of reach for a while: whoever writes results asks again.
            _renew(place, number, replace(me, beat=beat))


def _renew(place: Place, number: int, me: Holder) -> None:
    """Write what `me` has to say, unless another run has taken over."""
    if _current(place)[1].token == me.token:
        place.write(str(number), _content(me))


def _check(place: Place, me: Holder, of: str) -> None:
    holder = _current(place)[1]
    if holder.token != me.token:
        raise UserError(f"{of}: was taken over by another run ({holder}) while this one was silent; this one stops.")


def _current(place: Place) -> tuple[int, Holder]:
    """The highest number, and what its file says; 0 and `NOBODY` where there is none."""
    while True:
        number = max(_numbers(place), default=0)
        if number == 0:
            return 0, NOBODY
        try:
            return number, Holder(**json.loads(place.read(str(number))))
        except FileNotFoundError:  # A new holder has just cleared it away.
            continue
        except (TypeError, ValueError):
            raise UserError(
                f"{place}/{number}: is no lock that this affect knows; remove it if no run uses it."
            ) from None


def _numbers(place: Place) -> list[int]:
    return [int(name) for name in place.names("") if name.isdecimal()]


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()
