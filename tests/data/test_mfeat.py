"""The reader of UCI Multiple Features: on the real files, on made-up ones, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affect.data.checks import straddling
from affect.data.leakage import permit
from affect.data.readers.mfeat import VIEWS, prepare_mfeat, stratified
from affect.data.task import column_moments
from affect.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Fifty made-up digits a class, of which two are the same scan; columns are called as in the release."""
    folder = tmp_path / "root"
    folder.mkdir()
    draw = np.random.default_rng(0)
    digits = np.repeat(np.arange(10), 50)
    for view in VIEWS:
        x = draw.normal(size=(len(digits), 3)).round(3)
        x[7] = x[3]
        rows = "\n".join(",".join(map(str, (*values, digit))) for values, digit in zip(x, digits, strict=True))
        (folder / f"mfeat-{view}.csv").write_text(f"0,1,2,0\n{rows}\n")
    return folder


def replace_line(file: Path, line: int, text: str) -> None:
    lines = file.read_text().splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n")


def test_made_up_files(root, tmp_path):
    corpus = prepare_mfeat(root, tmp_path / "mfeat")
    assert corpus.facts("leak_free", view="all").view == "fac+fou+kar+mor+pix+zer"
    assert corpus.samples["digit"].tolist() == np.repeat(np.arange(10), 50).tolist()
    group = corpus.samples["group"]
    assert group[3] == group[7]
    assert group.nunique() == len(group) - 1
    first = np.loadtxt(root / "mfeat-zer.csv", delimiter=",", skiprows=1)[:, :-1]
    np.testing.assert_array_equal(corpus.view("zer"), first.astype(np.float32))
    counts = corpus.samples.groupby(["digit", "partition"]).size().unstack()
    assert set(map(tuple, counts[["train", "development", "test"]].to_numpy())) == {(30, 10, 10)}
    other = prepare_mfeat(root, tmp_path / "other", seed=1)
    assert other.manifest.name == "mfeat-seed-1"
    assert (other.samples["partition"] != corpus.samples["partition"]).any()


def test_groups_stay_on_one_side_and_classes_keep_their_shares():
    classes = np.repeat(np.arange(4), 100)
    groups = np.arange(400) // 3
    parts = np.array(stratified(classes, groups, 5), object)
    same = [group for group in np.unique(groups) if len(set(classes[groups == group])) == 1]
    rows = np.isin(groups, same)
    assert straddling(groups[rows].astype(str).astype(object), parts[rows]) == {}
    for each in range(4):
        assert 18 <= (parts[classes == each] == "test").sum() <= 20
    assert list(parts) == stratified(classes, groups, 5)


@pytest.mark.parametrize(
    ("line", "text", "sentence"),
    [
        (4, "1,x,3,0", r"mfeat-kar\.csv: cannot be read as numbers \(could not convert string 'x' to float64"),
        (4, "1,2,0", r"mfeat-kar\.csv: cannot be read as numbers"),
        (4, "1,2,3,1", r"mfeat-kar\.csv: its last column differs from that of mfeat-fac\.csv"),
        (4, "1,nan,3,0", r"mfeat-kar\.csv: .*digit-0003"),
    ],
)
def test_bad_files(root, tmp_path, line, text, sentence):
    replace_line(root / "mfeat-kar.csv", line, text)
    with pytest.raises(UserError, match=sentence):
        prepare_mfeat(root, tmp_path / "mfeat")
    assert not (tmp_path / "mfeat").exists()


def test_labels_that_are_no_digits(root, tmp_path):
    for view in VIEWS:
        replace_line(root / f"mfeat-{view}.csv", 5, "1,2,3,10")
    with pytest.raises(UserError, match="line 5 ends with 10, which is no digit"):
        prepare_mfeat(root, tmp_path / "mfeat")
    (root / "mfeat-zer.csv").unlink()
    with pytest.raises(UserError, match=r"mfeat-zer\.csv: there is no such file"):
        prepare_mfeat(root, tmp_path / "mfeat")
    with pytest.raises(UserError, match="--seed -1: must not be negative"):
        prepare_mfeat(root, tmp_path / "mfeat", seed=-1)


@pytest.mark.data
def test_the_release(shared_data, tmp_path):
    from sklearn.linear_model import LogisticRegression

    corpus = prepare_mfeat(shared_data / "mfeat", tmp_path / "mfeat")
    assert {view: info.shape[1] for view, info in corpus.manifest.views.items()} == {
        **{"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47},
    }
    facts = corpus.facts("leak_free", view="fou+zer")
    assert facts.rows == {"train": 1200, "development": 400, "test": 400, "unlabelled": 0}
    assert (facts.classes, facts.widths, facts.kinds) == (10, (76, 47), ("columns_repeat",))
    assert permit(facts, "leak_free", []) == facts
    assert corpus.samples["group"].nunique() == 1994
    assert corpus.samples.groupby("partition")["digit"].value_counts().unstack().loc["test"].tolist() == [40] * 10
    # A floor that is known of these views; the last column, were it a feature, would tell everything.
    part, digits = corpus.partition("leak_free"), corpus.labels(("digit",))[:, 0]
    for view, floor in {"fac": 0.98, "fou": 0.84, "zer": 0.83}.items():
        x = corpus.view(view)
        mean, scale = column_moments(x, np.flatnonzero(part == "train"))
        z = (x - mean) * scale
        fit = LogisticRegression(max_iter=300).fit(z[part == "train"], digits[part == "train"])
        assert fit.score(z[part == "test"], digits[part == "test"]) == pytest.approx(floor, abs=0.05)
