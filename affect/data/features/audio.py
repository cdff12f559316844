"""From one recording to its features: reading (any rate, any number of channels) and the feature sets.

soundfile and opensmile are optional (`pip install "affect[audio]"`, `"affect[opensmile]"`) and imported only where one
is needed. openSMILE is not free software: see `LICENCE`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from affect.data.features import mel
from affect.errors import UserError

LICENCE = (
    "openSMILE is under the audEERING research licence: non-commercial use only; whoever installs or uses it agrees "
    "to its terms."
)
STEPS = 1000
"""Steps that views of frames are cut or padded to: 10 s at 100 frames a second."""
SLOWEST, FASTEST = 8_000, 192_000
"""Sampling rates in Hz outside of which a file is taken for damaged."""
LONGEST = 3600
"""Seconds; a longer file is no clip, and would take gigabytes."""
MOST_BYTES = 512 << 20
"""Of all channels once decoded: a small compressed file may hold hours of silence in many channels."""
BLOCK_FRAMES = 1 << 16


class Unusable(Exception):
    """Why a recording has no features, in a few words: it is skipped."""


@dataclass(frozen=True)
class Extracted:
    """Features of one clip: float32 [D], or [T, D] for frames, of which there were `steps` before they were cut."""

    values: np.ndarray
    steps: int = 0


@dataclass(frozen=True)
class FeatureSet:
    """A way to describe a clip by `shape` numbers: [D], or [STEPS, D] with fewer steps for a shorter clip."""

    shape: tuple[int, ...]
    named: Callable[[], str]
    """Its name with the version of what computes it; `UserError` where that is not installed."""
    extract: Callable[[np.ndarray, int], Extracted]
    """Signal [samples] within -1..1 and rate in Hz → features."""
    licence: str = ""
    """Terms that come with whatever computes it."""


def read_wave(file: Path) -> tuple[np.ndarray, int]:
    """Signal [samples] float32, the mean of all channels, and its rate in Hz; `Unusable` where there is none."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as opened:
            rate, seconds = opened.samplerate, opened.frames / opened.samplerate
            if not SLOWEST <= rate <= FASTEST:
                raise Unusable(f"a sampling rate of {rate} Hz")
            if seconds > LONGEST:
                raise Unusable(f"{seconds / 3600:.1f} h long")
            if (size := 4 * opened.frames * opened.channels) > MOST_BYTES:
                raise Unusable(f"{size >> 20:,} MB in {opened.channels} channels once decoded")
            blocks = opened.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True)
            signal = np.concatenate([np.empty(0, np.float32), *(block.mean(axis=1) for block in blocks)])
    except (OSError, RuntimeError, ValueError, MemoryError) as error:  # libsndfile's own are RuntimeErrors.
        raise Unusable(f"cannot be read: {_reason(error, file)}") from None
    if not len(signal):
        raise Unusable("empty")
    if not np.isfinite(signal).all():
        raise Unusable("holds samples that are not finite")
    if np.ptp(signal) == 0:
        raise Unusable("silent")
    return signal, rate


def extract(file: Path, sets: Sequence[str]) -> dict[str, Extracted]:
    """The feature `sets` of a recording; `Unusable` where one of them cannot be had."""
    signal, rate = read_wave(file)
    found = {}
    for name in sets:
        try:
            features = SETS[name].extract(signal, rate)
        except UserError:
            raise
        except Exception as error:  # Whatever a library stumbles over in one odd recording.
            raise Unusable(f"{name} cannot be computed: {_reason(error, file)}") from None
        if not features.values.size:
            raise Unusable(f"{1000 * len(signal) / rate:.0f} ms long, too short for {name}")
        wrong = np.argwhere(~np.isfinite(features.values))
        if len(wrong):
            place = ", ".join(map(str, wrong[0]))
            raise Unusable(f"{name} is {features.values[tuple(wrong[0])]} at [{place}]")
        found[name] = features
    return found


def need_soundfile() -> None:
    """`UserError` where recordings cannot be read."""
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing.
        raise UserError(f'soundfile cannot be imported ({error}); `pip install "affect[audio]"`.') from None


def opensmile_version() -> str:
    try:
        import opensmile
    except (ImportError, OSError) as error:
        raise UserError(
            f'opensmile cannot be imported ({error}); `pip install "affect[opensmile]"`, or extract --sets mfb alone. '
            f"{LICENCE}"
        ) from None
    return str(opensmile.__version__)


@cache
def _smile(level: str) -> Any:
    """openSMILE takes most of a second to be set up, once per process."""
    import opensmile

    return opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel[level])


def _compare(signal: np.ndarray, rate: int, level: str) -> np.ndarray:
    """ComParE_2016 [steps, columns] at the file's own rate; empty where not one frame (60 ms) fits."""
    # opensmile makes 16-bit integers of it, in which what is louder than they hold would change its sign.
    heard = np.clip(signal, -1.0, 32767 / 32768)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        values = _smile(level)(heard, rate)[0].T
    return values[:0] if any("too short" in str(warning.message) for warning in said) else values


def _functionals(signal: np.ndarray, rate: int) -> Extracted:
    values = _compare(signal, rate, "Functionals")
    return Extracted(values[0] if len(values) else values)


def _descriptors(signal: np.ndarray, rate: int) -> Extracted:
    values = _compare(signal, rate, "LowLevelDescriptors")
    return Extracted(np.ascontiguousarray(values[:STEPS]), len(values))


def _bands(signal: np.ndarray, rate: int) -> Extracted:
    return Extracted(*mel.log_mel(signal, rate, STEPS))


SETS = {
    "hld": FeatureSet(
        (6373,), lambda: f"ComParE_2016 functionals, opensmile {opensmile_version()}", _functionals, LICENCE
    ),
    "lld": FeatureSet(
        (STEPS, 65),
        lambda: f"ComParE_2016 low-level descriptors, opensmile {opensmile_version()}",
        _descriptors,
        LICENCE,
    ),
    "mfb": FeatureSet((STEPS, mel.BANDS), lambda: "40 log mel bands of 16 kHz speech, affect version 1", _bands),
}
"""Name → feature set; the names are those of the views, in order of preference."""


def _reason(error: BaseException, file: Path) -> str:
    """An error of a library as a few words without the file's name."""
    text = " ".join(str(error).replace(str(file), "the file").split())
    return (text if len(text) <= 120 else text[:117] + "...") or type(error).__name__
