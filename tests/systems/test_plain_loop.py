"""The `MTL` row against a plain loop on real speech: same seeds, subsets and normalisation, its own everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affect.data.readers.qcc import prepare_qcc
from affect.data.task import Task
from affect.stats.concordance import ccc_columns
from affect.systems import get_system
from affect.systems.base import Replicate, fit_pack, resolve_settings
from affect.systems.process import settle
from affect.trial import TaskSpec
from tests.bench.plain_mtl import plain_mtl

QCC = Path(__file__).parents[2].parent / "shared" / "data" / "qcc_speech_vad"
TARGETS = ("arousal", "valence", "dominance")
SETTINGS = {"learning_rate": 5e-4, "dropout_input": 0.0, "dropout_hidden": 0.5}


def compare(corpus, fraction: float, seeds: int, epochs: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Test CCC [seeds, T] of the MTL row and of the plain loop."""
    task = Task(corpus, TaskSpec(corpus.manifest.fingerprint, "hld", TARGETS, "ccc", "as_published", fraction))
    system = get_system("MTL")
    settings = resolve_settings(system, "paper", {**SETTINGS, "epochs": epochs})
    data = [task.fit_data(seed) for seed in range(seeds)]
    fits = fit_pack(system, [Replicate(d, settings, seed) for seed, d in enumerate(data)], device="cpu")
    test = task.parts(0)[-1]
    ours = [ccc_columns(test.targets, fit.predict(test.inputs)) for fit in fits]
    plain = [ccc_columns(test.targets, plain_mtl(d, seed, epochs)(test.inputs)) for seed, d in enumerate(data)]
    return np.array(ours), np.array(plain)


@pytest.mark.data
@pytest.mark.skipif(not QCC.exists(), reason="needs the open corpora beside the project")
@pytest.mark.parametrize(
    ("fraction", "seeds", "epochs", "floor"),
    # With all labels seeds differ less, and an epoch costs six times as much.
    [(1.0, 2, 40, (0.71, 0.56, 0.73)), (0.1, 10, 100, (0.67, 0.47, 0.69)), (0.02, 10, 100, (0.54, 0.33, 0.56))],
)
def test_mtl_equals_a_plain_loop(tmp_path, fraction, seeds, epochs, floor):
    settle("cpu")
    ours, plain = compare(prepare_qcc(QCC, tmp_path / "qcc"), fraction, seeds, epochs)
    assert np.abs((ours - plain).mean(0)).max() < 0.01
    assert (ours.mean(0) > floor).all()
