"""40 log mel bands at 100 frames a second, with NumPy and SciPy alone.

Speech is brought to 16 kHz, whatever its rate, so that a band means the same frequencies in every clip. Frames of 25 ms
(periodic Hann window) start every 10 ms, the first at sample 0, the last where a whole frame still fits; nothing is
padded, pre-emphasised or normalised. Their power spectra (512-point FFT) are summed under 40 triangles of height 1,
evenly spaced between 0 and 8 kHz on the mel scale 2595 log10(1 + f / 700 Hz), and the natural logarithm is taken of
that energy, at least 1e-10.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

BANDS = 40
RATE = 16_000
WINDOW, HOP = 400, 160
"""Samples at `RATE`: 25 ms and 10 ms."""
FFT = 512
LOW, HIGH = 0.0, 8_000.0
"""Hz."""
FLOOR = 1e-10


def frames_in(samples: int) -> int:
    """How many whole frames `samples` at `RATE` hold."""
    return max(0, 1 + (samples - WINDOW) // HOP)


def log_mel(signal: np.ndarray, rate: int, most: int) -> tuple[np.ndarray, int]:
    """The first frames, at most `most`, of a `signal` [samples] at `rate` Hz: float32 [T, 40]; and how many it has."""
    from scipy.signal import resample_poly

    signal = np.asarray(signal, np.float64)
    if rate != RATE:
        common = math.gcd(RATE, rate)
        signal = resample_poly(signal, RATE // common, rate // common)
    total = frames_in(len(signal))
    kept = min(total, most)
    if not kept:
        return np.empty((0, BANDS), np.float32), 0
    frames = np.lib.stride_tricks.sliding_window_view(signal[: WINDOW + (kept - 1) * HOP], WINDOW)[::HOP]
    window, triangles = _window(), _triangles()
    power = np.abs(np.fft.rfft(frames * window, FFT)) ** 2
    return np.log(np.maximum(power @ triangles.T, FLOOR)).astype(np.float32), total


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Mel scale of O'Shaughnessy, as in HTK."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def edges() -> np.ndarray:
    """[42] Hz: triangle b rises from edge b, peaks at edge b + 1 and ends at edge b + 2."""
    points = np.linspace(mel(LOW), mel(HIGH), BANDS + 2)
    return 700.0 * (10.0 ** (points / 2595.0) - 1.0)


@cache
def _window() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def _triangles() -> np.ndarray:
    """[40, 257]: the weight of every FFT bin in every band."""
    left, centre, right = (edges()[i : i + BANDS, None] for i in range(3))
    bins = np.fft.rfftfreq(FFT, 1 / RATE)
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))
