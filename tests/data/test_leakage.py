"""The leakage gate: what is planted is found, what is not there is not, and findings stop a study only where they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affect.data import copies, leakage
from affect.data.copies import NEIGHBOURS
from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, UNKNOWN, Corpus, Finding, TargetInfo, class_target
from affect.data.manifest import STOPPING
from affect.data.prepare import describe
from affect.data.readers.qcc import prepare_qcc
from affect.data.twin import make_twin
from affect.data.writer import ViewSource, array_view
from affect.errors import UserError

SIZES = {"train": 160, "development": 40, "test": 60, "unlabelled": 40}
PLACE = {"train": 0, "development": 160, "test": 200, "unlabelled": 260}
"""Partition → its first row."""
BOTH = {AS_PUBLISHED: "partition", LEAK_FREE: "partition"}
WIDTH = 30

Make = Callable[..., Corpus]


def rows() -> np.ndarray:
    """Features in which columns of all sizes, a constant, one at zero and enormous outliers lie side by side."""
    draw = np.random.default_rng(5)
    x = draw.standard_normal((sum(SIZES.values()), WIDTH)) * 10.0 ** draw.uniform(-3, 4, WIDTH) + 2.0
    x[:, 3], x[:, 4] = 7.0, 0.0
    x[draw.random(len(x)) < 0.03, 5] = 1e12
    x[11, 6] = -1e12
    return x.astype(np.float32)


def table() -> pd.DataFrame:
    """The samples of `rows`: five rows a speaker, who keep to their partition; labels that no feature knows."""
    n = sum(SIZES.values())
    draw = np.random.default_rng(6)
    partition = np.repeat(list(SIZES), list(SIZES.values()))
    samples = pd.DataFrame({"id": [f"clip{i:03}" for i in range(n)], "partition": partition})
    samples["group"] = [f"speaker{i // 5:02}" for i in range(n)]
    for target in ("arousal", "valence"):
        samples[target] = np.where(partition == "unlabelled", np.nan, draw.uniform(1, 5, n))
    samples["emotion"] = np.where(partition == "unlabelled", np.nan, draw.integers(0, 4, n))
    return samples


@pytest.fixture
def make(write: Callable[..., Corpus]) -> Make:
    def make(x: np.ndarray, samples: pd.DataFrame | None = None, **changes: Any) -> Corpus:
        given: dict[str, Any] = {
            "samples": table() if samples is None else samples,
            "targets": {"arousal": TargetInfo(1, 5), "valence": TargetInfo(1, 5), "emotion": class_target(*"abcd")},
            "views": {"hld": array_view(x, "x")},
        }
        return write(**(given | changes))

    return make


def kinds(corpus: Corpus, protocol: str = LEAK_FREE) -> list[str]:
    return [found.kind for found in corpus.manifest.findings if found.protocol == protocol]


def sentence(corpus: Corpus, kind: str) -> str:
    return next(found.sentence for found in corpus.manifest.findings if found.kind == kind)


def test_nothing_is_found_where_nothing_is(make):
    assert make(rows()).manifest.findings == ()


def test_a_speaker_in_two_partitions(make):
    samples = table()
    samples.loc[PLACE["test"], "group"] = "speaker00"
    corpus = make(rows(), samples, protocols={AS_PUBLISHED: "partition"})
    assert kinds(corpus, AS_PUBLISHED) == ["groups_straddle"]
    assert "'speaker00' lies in train, test" in sentence(corpus, "groups_straddle")
    with pytest.raises(UserError, match="speaker 'speaker00' lies in train and test, so protocol leak_free is refused"):
        corpus.facts(LEAK_FREE)
    with pytest.raises(UserError, match="speaker 'speaker00' lies in train and test, so protocol leak_free is refused"):
        make(rows(), samples, overwrite=True)


def test_a_recording_in_two_partitions(make):
    """Speakers are kept apart, but two of them were recorded together; what is unlabelled or unknown is no matter."""
    samples = table()
    samples["recording"] = [f"podcast{i}" for i in range(len(samples))]
    samples.loc[[0, 1, 2, PLACE["development"], PLACE["test"]], "recording"] = "talk"
    samples.loc[[3, PLACE["unlabelled"]], "recording"] = "other talk"
    samples.loc[[4, PLACE["test"] + 1], "recording"] = ""
    corpus = make(rows(), samples)
    assert kinds(corpus) == kinds(corpus, AS_PUBLISHED) == ["recordings_straddle"]
    assert sentence(corpus, "recordings_straddle") == (
        "1 of 254 recordings lie in two or more of train, development and test; 'talk' lies in train, development, test."
    )
    with pytest.raises(UserError, match=r"recordings_straddle: 1 of .* add --allow recordings_straddle to run it"):
        leakage.permit(corpus.facts(LEAK_FREE), LEAK_FREE, [])
    samples.loc[[PLACE["development"], PLACE["test"]], "recording"] = "another"
    samples.loc[PLACE["test"], "recording"] = None
    assert make(rows(), samples, overwrite=True).manifest.findings == ()


def same(row: np.ndarray) -> np.ndarray:
    return row


def rescaled(row: np.ndarray) -> np.ndarray:
    return (row.astype(np.float64) * (1 + 1e-6)).astype(np.float32)


def noisy(row: np.ndarray) -> np.ndarray:
    """With noise of a thousandth of every column's standard deviation, and as much in the constant columns."""
    low, high = np.percentile(rows()[:, : len(row)], [16, 84], axis=0)
    sd = np.where(high > low, (high - low) / 2, 1)
    return (row + 1e-3 * sd * np.random.default_rng(1).standard_normal(len(row))).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "kind"), [(same, "rows_recur"), (rescaled, "rows_nearly_recur"), (noisy, "rows_nearly_recur")]
)
@pytest.mark.parametrize(("one", "other"), [("development", "train"), ("test", "train"), ("test", "development")])
def test_a_recording_under_two_ids(make, change, kind, one, other):
    for row in (7, 11):  # the second has an outlier of -1e12
        x = rows()
        x[PLACE[other] + row] = x[row]
        x[PLACE[one] + 3] = change(x[row])
        x[0] = x[20]  # within one partition: no leak
        if other != "train":
            x[row] = x[30]
        corpus = make(x, overwrite=True)
        assert kinds(corpus) == kinds(corpus, AS_PUBLISHED) == [kind]
        found = sentence(corpus, kind)
        assert found.startswith("1 of 100 rows of development and test occur in another partition as well")
        assert found.endswith(f"clip{PLACE[one] + 3:03} of {one} and clip{PLACE[other] + row:03} of {other}.")


def test_zeros_of_either_sign_are_the_same(make):
    x = rows()
    x[PLACE["test"]] = x[0]
    x[PLACE["test"], 4] = -0.0
    assert kinds(make(x)) == ["rows_recur"]


def test_a_recording_recurs_in_every_view_or_not_at_all(make):
    one, other = rows(), np.roll(rows(), 100, axis=0)
    one[PLACE["test"]] = one[0]
    views = {"one": array_view(one, "x"), "other": array_view(other, "y")}
    assert kinds(make(one, views=views)) == []
    other[PLACE["test"]] = noisy(other[0])
    assert kinds(make(one, views=views, overwrite=True)) == ["rows_nearly_recur"]
    other[PLACE["test"]] = other[0]
    assert kinds(make(one, views=views, overwrite=True)) == ["rows_recur"]


def test_a_view_counts_for_the_protocols_that_may_use_it(make):
    x, clean = rows(), rows()
    x[PLACE["test"]] = x[0]
    views = {"a": array_view(x, "x", protocol=AS_PUBLISHED), "b": array_view(clean, "y", protocol=LEAK_FREE)}
    corpus = make(x, views=views)
    assert (kinds(corpus, AS_PUBLISHED), kinds(corpus, LEAK_FREE)) == (["rows_recur"], [])


def test_other_words_make_another_recording(make):
    x, samples = rows(), table()
    x[PLACE["test"]] = x[0]
    x[PLACE["test"] + 1] = noisy(x[1])
    samples["text"] = [f"sentence {i}" for i in range(len(x))]
    assert kinds(make(x, samples)) == []
    samples.loc[PLACE["test"], "text"] = " Sentence  0 "
    samples.loc[PLACE["test"] + 1, "text"] = "sentence 1"
    corpus = make(x, samples, overwrite=True)
    assert kinds(corpus) == ["texts_recur", "rows_recur", "rows_nearly_recur"]


def test_unlabelled_copies_of_test_rows_do_not_stop_a_study(make):
    x = rows()
    x[PLACE["unlabelled"]] = noisy(x[PLACE["test"]])
    x[PLACE["unlabelled"] + 1] = x[PLACE["test"] + 1]
    x[PLACE["unlabelled"] + 2] = x[0]
    corpus = make(x)
    assert kinds(corpus) == ["unlabelled_recur"]
    assert sentence(corpus, "unlabelled_recur").startswith("2 of 60 rows of test occur among the unlabelled rows")
    assert not any(found.stops for found in corpus.manifest.findings)
    facts = corpus.facts(LEAK_FREE)
    assert leakage.permit(facts, LEAK_FREE, []) == facts


def test_many_rows_of_one_value(make):
    """Recordings of which nothing could be computed are zeros; that they are many must not cost anything."""
    x = rows()
    for first in PLACE.values():
        x[first : first + 30] = 0
    corpus = make(x)
    assert sentence(corpus, "rows_recur").startswith("60 of 100 rows")
    assert sentence(corpus, "unlabelled_recur").startswith("30 of 60 rows")


def test_neighbours_are_asked_for_in_bounded_numbers(make, monkeypatch):
    from scipy import spatial

    asked = []

    class Tree(spatial.cKDTree):
        def query(self, points: np.ndarray, neighbours: np.ndarray, **how: Any) -> Any:
            asked.append((len(points), len(neighbours)))
            return super().query(points, neighbours, **how)

    x = rows()
    for first in PLACE.values():
        x[first : first + 30] = x[0] + np.random.default_rng(first).uniform(-1e-4, 1e-4, (30, WIDTH)) * x[0]
    corpus = make(x)
    monkeypatch.setattr(spatial, "cKDTree", Tree)
    monkeypatch.setattr(copies, "ENTRIES", 100)
    again = make(x, overwrite=True)
    assert "rows_nearly_recur" in kinds(corpus)
    assert again.manifest.findings == corpus.manifest.findings
    assert len(asked) > 2
    assert max(points * neighbours for points, neighbours in asked) <= 100 + NEIGHBOURS


@pytest.mark.parametrize(("target", "noise"), [("arousal", 0.0), ("arousal", 0.3), ("emotion", 0.0), ("emotion", 0.25)])
def test_a_column_that_is_the_label_plus_noise(make, target, noise):
    x, samples = rows(), table()
    draw = np.random.default_rng(2)
    labels = samples[target].fillna(0).to_numpy()
    if target == "emotion":
        labels = np.array([2.0, 0.0, 3.0, 1.0])[labels.astype(int)]
    x[:, 9] = 100 * (labels + noise * draw.standard_normal(len(x)))
    corpus = make(x)
    assert kinds(corpus) == kinds(corpus, AS_PUBLISHED) == ["label_encoded"]
    assert sentence(corpus, "label_encoded").startswith("column 9 of view hld by itself explains ")
    assert f"% of {target} on the training rows; the best of the other columns" in sentence(corpus, "label_encoded")


def test_columns_that_tell_a_label_together_are_beside_the_others(make):
    """No sentence calls another suspect one of the others, and the first alone says how columns are counted."""
    x = rows()
    labels = table()["arousal"].fillna(3).to_numpy()
    draw = np.random.default_rng(2)
    x[:, [1, 9]] = labels[:, None] + [[0.3, 0.2]] * draw.standard_normal((len(x), 2))
    x[:, 20] = x[:, 7]
    corpus = make(x)
    assert kinds(corpus) == ["label_encoded", "label_encoded", "columns_repeat"]
    first, second, third = (found.sentence for found in corpus.manifest.findings if found.protocol == LEAK_FREE)
    for found, column in ((first, 9), (second, 1)):
        assert found.startswith(f"column {column} of view hld by itself explains ")
        assert "% of arousal on the training rows, as one of 2 such columns; the best of the other columns" in found
    assert first.endswith("%; columns are counted from 0.")
    assert "counted" not in second + third


@pytest.mark.parametrize("sharp", [True, False])
def test_columns_that_each_tell_one_class(make, sharp):
    """One column per class, as of a classifier that saw the labels: 0 or 1, or how sure it was."""
    x, samples = rows(), table()
    draw = np.random.default_rng(2)
    classes = draw.integers(0, 7, len(samples))
    samples["emotion"] = np.where(samples["partition"] == "unlabelled", np.nan, classes)
    told = classes[:, None] == np.arange(7)
    x[:, 9:16] = told if sharp else np.where(told, draw.uniform(0.5, 1, (len(x), 7)), draw.uniform(0, 0.5, (len(x), 7)))
    corpus = make(x, samples, targets={"emotion": class_target(*"abcdefg")})
    assert kinds(corpus) == ["label_encoded"] * 7
    x[:, 12] = rows()[:, 12]  # As where the last class is what remains.
    corpus = make(x, samples, targets={"emotion": class_target(*"abcdefg")}, overwrite=True)
    assert kinds(corpus) == ["label_encoded"] * 6
    x[:, 10:16] = rows()[:, 10:16]  # One class that is easy to tell is no leak.
    corpus = make(x, samples, targets={"emotion": class_target(*"abcdefg")}, overwrite=True)
    assert kinds(corpus) == []


def test_a_column_in_which_the_label_goes_up_and_down(make):
    x, samples = rows(), table()
    labels = samples["arousal"].fillna(3).to_numpy()
    x[:, 9] = np.abs(labels - 3) + 0.02 * (labels > 3) + 10 * np.floor(labels)
    assert kinds(make(x, samples)) == ["label_encoded"]
    x[:, 9] = np.round(5 * labels) * 7919 % 1009
    corpus = make(x, samples, overwrite=True)
    assert kinds(corpus) == ["label_encoded"]
    assert sentence(corpus, "label_encoded").startswith("column 9 of view hld by itself explains ")


def test_columns_are_called_by_their_names(make):
    x = rows()
    x[:, 9] = table()["valence"].fillna(3)
    names = tuple(f"f_{i}" for i in range(WIDTH))
    corpus = make(x, views={"hld": ViewSource(x.shape, lambda: [x], "x", columns=names)})
    assert sentence(corpus, "label_encoded").startswith("column f_9 of view hld by itself explains 100% of valence")
    assert "counted" not in sentence(corpus, "label_encoded")
    corpus = make(x, views={"hld": array_view(x.reshape(-1, 5, 6), "x")}, overwrite=True)
    assert sentence(corpus, "label_encoded").startswith("column 1,3 of view hld by itself")


def test_what_only_helps_is_no_label(make):
    """Columns that correlate by .75, and a family of fifteen good ones: learnable, not leaked."""
    x, samples = rows(), table()
    draw = np.random.default_rng(3)
    labels = samples["arousal"].fillna(3).to_numpy()
    x[:, 9] = labels + 0.9 * labels.std() * draw.standard_normal(len(x))
    assert make(x).manifest.findings == ()
    x[:, 7:22] = labels[:, None] + 0.4 * draw.standard_normal((len(x), 15))
    assert make(x, overwrite=True).manifest.findings == ()


@pytest.mark.parametrize("votes", [6, 12])
def test_many_noisy_copies_of_the_label(make, votes):
    """What each of many raters said, among features that know nothing: every vote is nearly the label."""
    samples = table()
    draw = np.random.default_rng(3)
    labels = samples["arousal"].fillna(3).to_numpy()
    x = draw.standard_normal((len(samples), 48)).astype(np.float32)
    x[:, 20 : 20 + votes] = labels[:, None] + 0.12 * draw.standard_normal((len(x), votes))
    corpus = make(x)
    assert kinds(corpus) == kinds(corpus, AS_PUBLISHED) == ["label_encoded"]
    found = sentence(corpus, "label_encoded")
    assert f"of view hld and {votes - 1} other columns by themselves explain 9" in found
    assert "% or more of arousal on the training rows; the best of the others explains " in found


def test_columns_that_are_many_or_have_others_close_by_are_no_votes():
    """A quarter of the columns at most, and nothing between them and what is ordinary."""
    score = np.r_[np.full(12, 0.97), np.full(36, 0.3)]
    assert len(leakage.suspected(score)[0]) == 12
    assert len(leakage.suspected(score[:-1])[0]) == 0
    score[-1] = 0.8
    assert len(leakage.suspected(score)[0]) == 0
    assert len(leakage.suspected(np.full(40, 0.99))[0]) == 0


def test_labels_of_test_rows_are_not_looked_at(make):
    x, samples = rows(), table()
    samples.loc[60:159, ["partition", "group"]] = ["test", "another speaker"]
    labels = samples["arousal"].fillna(3).to_numpy()
    x[:, 9] = labels
    x[:60, 9] += 1.3 * np.random.default_rng(4).standard_normal(60)
    assert np.corrcoef(labels, x[:, 9])[0, 1] ** 2 > leakage.TELLING
    assert make(x, samples).manifest.findings == ()


def test_columns_that_repeat_are_told(make):
    x = rows()
    x[:, 20], x[:, 21] = x[:, 8], x[:, 8]
    x[:, 22] = x[:, 3]
    corpus = make(x)
    assert kinds(corpus) == ["columns_repeat"]
    assert sentence(corpus, "columns_repeat").startswith("2 columns are identical")
    assert not any(found.stops for found in corpus.manifest.findings)


def test_columns_that_repeat_in_the_sample_alone_do_not(make, monkeypatch):
    monkeypatch.setattr(leakage, "SAMPLE_ROWS", 100)
    x = rows()
    x[:, 20], x[:, 21] = x[:, 8], x[:, 8]
    x[-1, 20] += 1  # an unlabelled row, which is never sampled
    assert sentence(make(x), "columns_repeat").endswith(
        "column 21 of view hld is column 8 of view hld; columns are counted from 0."
    )


def test_windows_of_one_trial_dealt_at_random(make):
    samples = table()
    samples["group"] = np.random.default_rng(0).permutation([f"trial{i % 20}" for i in range(len(samples))])
    corpus = make(rows(), samples, groups="trial", protocols={AS_PUBLISHED: "partition"})
    assert kinds(corpus, AS_PUBLISHED) == ["groups_straddle"]
    facts = corpus.facts(AS_PUBLISHED)
    assert facts.findings[0].startswith("20 of 20 groups (trial) lie in two or more of train, development and test")
    assert leakage.permit(facts, AS_PUBLISHED, []) == facts


def test_findings_stop_leak_free_alone(make):
    x = rows()
    x[:, 9] = table()["valence"].fillna(3)
    x[PLACE["test"]] = x[0]
    x[:, 20] = x[:, 8]
    corpus = make(x, notes=("A note.",))
    assert [found.kind for found in corpus.manifest.findings if found.stops] == ["rows_recur", "label_encoded"]
    assert describe(corpus).count("Stops a study without --allow") == 2
    published = corpus.facts(AS_PUBLISHED)
    assert published.kinds == ("rows_recur", "label_encoded", "columns_repeat")
    assert leakage.permit(published, AS_PUBLISHED, []) == published
    facts = corpus.facts(LEAK_FREE)
    with pytest.raises(UserError) as refused:
        leakage.permit(facts, LEAK_FREE, ["label_encoded"])
    assert str(refused.value) == (
        "toy: what was found in this corpus stops a study under leak_free (rows_recur: 1 of 100 rows of development and "
        "test occur in another partition as well, the same in every view, such as clip200 of test and clip000 of train); "
        "add --allow rows_recur to run it all the same."
    )
    with pytest.raises(UserError, match=r"; label_encoded: column 9 .* add --allow rows_recur label_encoded to run it"):
        leakage.permit(facts, LEAK_FREE, [])
    marked = leakage.permit(facts, LEAK_FREE, ["label_encoded", "rows_recur", "rows_nearly_recur"])
    assert marked.kinds == ("rows_recur (allowed)", "label_encoded (allowed)", "columns_repeat")
    assert marked.findings[0] == facts.findings[0] + " Allowed by --allow rows_recur."
    assert marked.findings[2:] == facts.findings[2:]
    assert marked.findings[-1] == "A note."
    assert replace(marked, kinds=facts.kinds, findings=facts.findings) == facts


def test_kinds_that_stop():
    assert [kind for kind in STOPPING if not Finding(LEAK_FREE, kind, "").stops] == []
    assert not any(Finding(AS_PUBLISHED, kind, "").stops for kind in STOPPING)


# Corpora as they are.


@pytest.mark.data
def test_qcc_and_the_twin_have_no_leak(shared_data, tmp_path):
    qcc = prepare_qcc(shared_data / "qcc_speech_vad", tmp_path / "qcc")
    assert [found.kind for found in qcc.manifest.findings] == ["groups_unknown"]
    assert make_twin("podcast-twin-demo", tmp_path / "twin").manifest.findings == ()


@pytest.mark.data
def test_digits_have_true_duplicates_and_nothing_else(shared_data, write):
    files = {name: shared_data / "mfeat" / f"mfeat-{name}.csv" for name in ("fac", "fou", "kar", "mor", "pix", "zer")}
    read = {name: pd.read_csv(file).to_numpy() for name, file in files.items()}
    labels = read["fac"][:, -1]
    views = {name: x[:, :-1].astype(np.float32) for name, x in read.items()}
    draw = np.random.default_rng(0)
    partition = np.empty(len(labels), object)
    for digit in range(10):
        shuffled = draw.permutation(np.flatnonzero(labels == digit))
        partition[shuffled] = np.repeat(["train", "development", "test"], [120, 40, 40])
    samples = pd.DataFrame({"id": [f"digit{i}" for i in range(2000)], "partition": partition, "digit": labels})
    corpus = write(
        samples=samples,
        targets={"digit": class_target(*"0123456789")},
        groups=UNKNOWN,
        protocols={AS_PUBLISHED: "partition"},
        views={name: array_view(x, name) for name, x in views.items()},
    )
    assert kinds(corpus, AS_PUBLISHED) == ["groups_unknown", "rows_recur", "columns_repeat"]
    order = {"train": 0, "development": 1, "test": 2}
    whole = pd.DataFrame(np.concatenate(list(views.values()), axis=1)).assign(part=pd.Series(partition).map(order))
    earliest = whole.groupby(list(whole.columns[:-1]), sort=False)["part"].transform("min")
    copied = int((earliest < whole["part"]).sum())
    assert copied > 0
    assert sentence(corpus, "rows_recur").startswith(f"{copied} of 800 rows")
