"""`affect prepare wav`: from recordings to a features folder, which other readers take."""

from __future__ import annotations

import argparse
from pathlib import Path

from affect.data.features.audio import LICENCE
from affect.data.features.extraction import FeatureFolder, extract_folder
from affect.data.features.options import add_sets, chosen_sets
from affect.data.features.recordings import find_wavs

HELP = "recordings into a folder of features (not yet a corpus) that other readers take with --features"
EXAMPLE = "affect prepare wav --root ../shared/data/ravdess_sample --sets mfb --out features/ravdess"
DETAIL = (
    "Reads every .wav file below --root, at any rate and with any number of channels (their mean), on all cores; the id "
    "of a clip is its file's name without suffix. Broken, empty and silent files are skipped and listed. The same "
    "command goes on where it was stopped, and takes up new files. A corpus is made of it by the reader of that corpus "
    "or, with a table of your labels, by: affect prepare table --samples clips.csv --id clip --partition split --target "
    "arousal=act:1:7 --features features/ravdess --out corpora/mine. The sets hld and lld need "
    f'`pip install "affect[opensmile]"`, mfb needs `pip install "affect[audio]"`. {LICENCE}'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="folder of .wav files, at any depth")
    add_sets(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write, or to go on with")


def prepare(args: argparse.Namespace) -> FeatureFolder:
    return extract_folder(find_wavs(args.root), args.out, chosen_sets(args), args.spread, args.overwrite)
