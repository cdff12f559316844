"""What the tests of the speech readers share: features for clips, readers as the command line runs them, broken files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from hypothesis import strategies as st

from affect.data.corpus import Corpus
from affect.errors import UserError

JUNK = ("", "abc", "9.0", "-1", "0.5", "NaN", "nan", "inf", "1e9", "3,5", "3_0", "٣", "--", "Train", "é" * 80, '"', "'")
"""What a damaged field may hold."""


def features_of(ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Two numbers per clip that tell it from the others."""
    return {clip: np.array([i + 0.5, -i], np.float32) for i, clip in enumerate(ids)}


def write_features(folder: Path, ids: Iterable[str]) -> Path:
    folder.mkdir(parents=True)
    for clip, array in features_of(ids).items():
        np.save(folder / f"{clip}.npy", array)
    (folder / "._rubbish.npy").write_bytes(b"\x00\x05\x16\x07")
    return folder


def write_tree(root: Path, files: Mapping[str, str], end: str = "\n") -> Path:
    """Text files by relative path, with the given line ends."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.replace("\n", end).encode())
    return root


def run(module: ModuleType, root: Path, features: Path, out: Path, *options: str) -> Corpus:
    """The corpus that `affect prepare` would write to `out`."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true")
    words = ["--root", str(root), "--features", str(features), "--feature-set", "rows", "--out", str(out), *options]
    return module.prepare(parser.parse_args(words))


def labels_of(corpus: Corpus) -> dict[str, tuple[float, ...]]:
    """Id → arousal, valence, dominance."""
    rows = corpus.samples[["arousal", "valence", "dominance"]].to_numpy()
    return {clip: tuple(row) for clip, row in zip(corpus.samples["id"], rows.tolist(), strict=True)}


@dataclass(frozen=True)
class Damage:
    """One change to one line of a file: numbers are taken modulo what there is to choose from."""

    kind: str
    line: int
    place: int
    other: int
    junk: str

    def apply(self, text: str, separator: str) -> tuple[bytes, str, str]:
        """The damaged file, and the line as it was and as it is."""
        lines = text.splitlines()
        at = self.line % len(lines)
        old = new = lines[at]
        fields = old.split(separator)
        place, other = self.place % len(fields), self.other % len(fields)
        if self.kind == "cut":
            new = old[: self.place % (len(old) + 1)]
        elif self.kind == "shortened":
            new = old[: -1 - self.place % 12]
        elif self.kind == "field":
            fields[place] = self.junk
            new = separator.join(fields)
        elif self.kind == "swap":
            fields[place], fields[other] = fields[other], fields[place]
            new = separator.join(fields)
        elif self.kind == "twice":
            new = f"{old}\n{old}"
        elif self.kind == "gone":
            new = ""
        lines[at] = new
        raw = ("\n".join(lines) + "\n").encode()
        if self.kind == "bytes":
            cut = self.place % (len(raw) + 1)
            raw = raw[:cut] + BYTES[self.line % len(BYTES)] + raw[cut:]
        return raw, old, new


KINDS = ("cut", "shortened", "field", "swap", "twice", "gone", "bytes")
BYTES = (b"\xff", b"\x00", b"\xe9t\xe9", b"\r", b'"', b"\xef\xbb\xbf")
_NUMBERS = st.integers(0, 5000)
DAMAGE = st.builds(Damage, st.sampled_from(KINDS), _NUMBERS, _NUMBERS, _NUMBERS, st.sampled_from(JUNK))


def outcome(module: ModuleType, root: Path, features: Path, out: Path, *options: str) -> Corpus | str:
    """The corpus, or the sentence that refuses the input: one line, of a place, with nothing left behind."""
    try:
        return run(module, root, features, out, *options)
    except UserError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert sentence.startswith(str(root)), sentence
        assert not out.parent.exists() or not list(out.parent.iterdir())
        return sentence


def same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))
