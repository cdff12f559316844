"""(k) Features of 600 recordings: all cores against one, on a Ray that is up."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from affect.data.features.extraction import extract_folder
from affect.data.features.recordings import find_wavs
from affect.engine.spread import on_ray
from tests.bench.figures import Item, Target, compared
from tests.bench.local import CORES, ray_running

WAVS = Path(__file__).parents[3] / "shared" / "data" / "ravdess_sample"
FILES = 600


def bench() -> Item:
    """One round. What is read are copies of the open recordings beside the project."""
    if not WAVS.is_dir():
        raise FileNotFoundError(f"{WAVS}: the open recordings are not here")
    sets = ("hld",) if find_spec("opensmile") else ("mfb",)
    with tempfile.TemporaryDirectory() as scratch, ray_running():
        wavs = _copies(Path(scratch) / "wavs")
        _timed(dict(list(wavs.items())[: 2 * CORES]), Path(scratch) / "warm", sets, CORES)
        alone = _timed(wavs, Path(scratch) / "one", sets, 1)
        together = _timed(wavs, Path(scratch) / "all", sets, CORES)
    return Item(
        "k",
        f"{sets[0]} features of {FILES} recordings",
        (
            compared(
                f"{CORES} cores : one core",
                "s",
                [together],
                [alone],
                [alone / together],
                Target(1.6, "at least"),
            ),
        ),
        ("Other: one core. Both on a Ray that is up, workers' start included.",),
    )


def _copies(folder: Path) -> dict[str, Path]:
    """Id → one of `FILES` links to the recordings."""
    folder.mkdir()
    known = sorted(find_wavs(WAVS).items())
    for number in range(FILES):
        clip, wav = known[number % len(known)]
        (folder / f"{number:03}_{clip}.wav").symlink_to(wav.resolve())
    return find_wavs(folder)


def _timed(wavs: dict[str, Path], folder: Path, sets: tuple[str, ...], slots: int) -> float:
    console = Console(quiet=True)
    started = time.perf_counter()
    found = extract_folder(wavs, folder, sets, partial(on_ray, console=console, slots=slots))
    if len(found.clips) != len(wavs):
        raise RuntimeError(f"{len(found.skipped)} recordings were skipped; nothing was measured")
    return time.perf_counter() - started
