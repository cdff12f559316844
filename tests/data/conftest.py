"""A small corpus that every test may bend, and the open data beside the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affect.data.corpus import Corpus, TargetInfo
from affect.data.twin import ensure_twin
from affect.data.writer import array_view, write_corpus

Write = Callable[..., Corpus]


def toy_samples() -> pd.DataFrame:
    """Twelve rows: six train, two development, two test, two unlabelled; speakers keep to their partition."""
    partition = ["train"] * 6 + ["development"] * 2 + ["test"] * 2 + ["unlabelled"] * 2
    return pd.DataFrame(
        {
            "id": [f"clip{i}" for i in range(12)],
            "subject": ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", None, None],
            "group": ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", None, None],
            "partition": partition,
            "arousal": [1.0, 2.5, 3.0, 4.0, np.nan, 5.0, 2.0, 3.0, 4.0, 5.0, np.nan, np.nan],
            "valence": [5.0, 4.0, 3.0, 2.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, np.nan, np.nan],
        }
    )


def toy_array() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)


@pytest.fixture
def samples() -> pd.DataFrame:
    return toy_samples()


@pytest.fixture
def array() -> np.ndarray:
    return toy_array()


def write_toy(folder: Path, **changes: Any) -> Corpus:
    """Write the toy corpus to `folder`, with any argument of `write_corpus` replaced."""
    given: dict[str, Any] = {
        "name": "toy",
        "title": "A toy",
        "banner": "toy: twelve rows",
        "synthetic": True,
        "source": "tests",
        "licence": "none",
        "samples": toy_samples(),
        "targets": {"arousal": TargetInfo(1, 5), "valence": TargetInfo(1, 5)},
        "groups": "speaker",
        "protocols": {"as_published": "partition", "leak_free": "partition"},
        "views": {"hld": array_view(toy_array(), "toy columns", file="hld.npy")},
        **changes,
    }
    return write_corpus(folder, **given)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write_toy`, to `tmp_path / "toy"` where no folder is given."""
    return lambda folder=None, **changes: write_toy(folder or tmp_path / "toy", **changes)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Corpus]:
    """An embedded twin by its name, made once."""
    folder = tmp_path_factory.mktemp("twins")
    return lambda name: ensure_twin(name, folder / name)


@pytest.fixture
def shared_data() -> Path:
    """The open corpora beside the project; the test is skipped where they are absent."""
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the open corpora are not beside the project")
    return folder
