"""`affect prepare emobank`: sentences with valence, arousal and dominance, as TF-IDF and truncated SVD.

Two protocols. `as_published` is the released split, which shares documents between its partitions (stored as a
finding). `leak_free` keeps every document, and every text that recurs, on one side. Each protocol has its own view,
whose vocabulary and SVD were fitted on that protocol's training texts alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data import checks
from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, Corpus, TargetInfo
from affect.data.formats.tabular import open_table
from affect.data.writer import array_view, refuse_existing, write_corpus
from affect.errors import UserError
from affect.streams import stream

HELP = "EmoBank: English sentences with valence, arousal and dominance on 1..5, TF-IDF and truncated SVD"
EXAMPLE = "affect prepare emobank --root ../shared/data/emobank --out corpora/emobank"
DETAIL = (
    "Reads emobank.csv (id, split, V, A, D, text) and meta.tsv (id, document) from --root. Offers the released split "
    "as protocol as_published and a document-grouped one as leak_free, each with a view fitted on its training texts."
)
SEED = 0
"""Of the SVD and of the document-grouped split."""
SHARES = {"test": 0.1, "development": 0.1}
LARGEST = 0.25
"""A part of test or development is at most this share of it, so that no single document decides the result."""
LEAK_FREE_COLUMN = "partition_leak_free"
VIEWS = {AS_PUBLISHED: "svd", LEAK_FREE: "svd_leak_free"}
COLUMNS = {"arousal": "A", "valence": "V", "dominance": "D"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with emobank.csv and meta.tsv")
    parser.add_argument("--out", type=Path, default=Path("corpora/emobank"), help="folder to write (%(default)s)")
    parser.add_argument("--dimensions", type=int, default=300, help="columns of the truncated SVD (%(default)s)")


def prepare(args: argparse.Namespace) -> Corpus:
    return prepare_emobank(args.root, args.out, args.dimensions, args.overwrite)


def prepare_emobank(root: Path, out: Path, dimensions: int = 300, overwrite: bool = False) -> Corpus:
    """Write the corpus `out` from the release in `root`: views `svd`, `svd_leak_free` [10062, dimensions] and text."""
    refuse_existing(out, overwrite)
    file = root / "emobank.csv"
    table = open_table(file)
    wanted = [table.need(column) for column in ("id", "split", "text", *COLUMNS.values())]
    cells = table.strings(wanted)
    checks.check_ids(cells["id"], str(file), "id")
    documents = _documents(root / "meta.tsv", cells["id"])
    released = checks.canonical_partitions(cells["split"], str(file), "split", cells["id"])
    samples = pd.DataFrame(
        {
            "id": cells["id"],
            "subject": documents,
            "group": documents,
            "partition": released,
            LEAK_FREE_COLUMN: split_by_document(documents, cells["text"]),
            **{target: table.column_floats(column, cells["id"]) for target, column in COLUMNS.items()},
            "text": cells["text"],
        }
    )
    protocols = {AS_PUBLISHED: "partition", LEAK_FREE: LEAK_FREE_COLUMN}
    views = {
        VIEWS[protocol]: array_view(
            text_features(cells["text"], (samples[column] == "train").to_numpy(), dimensions),
            features=f"TF-IDF (1-2-grams) and truncated SVD fitted on the training texts of {protocol}",
            protocol=protocol,
            file=str(file),
        )
        for protocol, column in protocols.items()
    }
    return write_corpus(
        out,
        name="emobank",
        title="EmoBank",
        banner="emobank: English sentences with readers' and writers' ratings; the released split (as_published) shares "
        "documents between its parts, that of leak_free none",
        synthetic=False,
        source="github.com/JULIELab/EmoBank",
        licence="CC BY-SA 4.0",
        samples=samples,
        targets={target: TargetInfo(1.0, 5.0) for target in COLUMNS},
        groups="document",
        protocols=protocols,
        views=views,
        samples_file=str(file),
        overwrite=overwrite,
    )


def split_by_document(documents: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Partitions of about 80/10/10 rows that no document and no recurring text straddles.

    Documents tied together by a common text are dealt as one, in an order drawn from a named stream; large ones
    (EmoBank's headlines are one document of 1,192 rows) always go to training.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    document, names = pd.factorize(np.asarray(documents, object))
    text, plain = pd.factorize(pd.Series([checks.plain_text(t) for t in texts], dtype=object))
    tied = text >= 0
    size = len(names) + len(plain)
    edges = coo_matrix((np.ones(tied.sum()), (document[tied], len(names) + text[tied])), shape=(size, size))
    part = connected_components(edges, directed=False)[1][document]
    rows = np.bincount(part)
    chosen = np.full(len(rows), "train", dtype=object)
    room = {name: share * len(documents) for name, share in SHARES.items()}
    for index in stream(SEED, "split", "documents").permutation(np.flatnonzero(rows)):
        for name, share in SHARES.items():
            if rows[index] <= min(room[name], LARGEST * share * len(documents)):
                room[name] -= rows[index]
                chosen[index] = name
                break
    return list(chosen[part])


def text_features(texts: Sequence[str], training: np.ndarray, dimensions: int) -> np.ndarray:
    """[N, dimensions] float32 for all texts; vocabulary, weights and SVD come from the rows `training` [N] alone."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    known = vectoriser.fit_transform([text for text, inside in zip(texts, training, strict=True) if inside])
    if not 1 <= dimensions < known.shape[1]:
        raise UserError(
            f"--dimensions {dimensions}: must lie between 1 and {known.shape[1] - 1}, below the vocabulary."
        )
    svd = TruncatedSVD(dimensions, random_state=SEED)
    # The last digits, and so the fingerprint, would depend on the number of threads.
    with threadpool_limits(1):
        svd.fit(known)
        return np.asarray(svd.transform(vectoriser.transform(texts)), dtype=np.float32)


def _documents(file: Path, ids: Sequence[str]) -> list[str]:
    table = open_table(file)
    cells = table.strings([table.need("id"), table.need("document")])
    checks.check_ids(cells["id"], str(file), "id")
    known = dict(zip(cells["id"], cells["document"], strict=True))
    for sample in ids:
        if not known.get(sample):
            raise UserError(f"{file}: no document is given for row {sample}.")
    return [known[sample] for sample in ids]
