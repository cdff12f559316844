"""The synthetic twin: what it promises about speakers, scales, correlations and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from affect.data import twin
from affect.data.corpus import open_corpus
from affect.data.twin import SIZES, TARGETS, ensure_twin, make_twin
from affect.errors import UserError

DEMO = "podcast-twin-demo"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return make_twin(DEMO, tmp_path_factory.mktemp("twin") / DEMO)


def test_rows_and_columns(demo):
    facts = demo.facts("leak_free")
    assert facts.rows == {"train": 2400, "development": 600, "test": 1200, "unlabelled": 4800}
    assert (facts.width, facts.synthetic, facts.groups, facts.findings) == (128, True, "speaker", ())
    assert demo.facts("as_published").rows == facts.rows


def test_full_scale_is_declared():
    full = SIZES["full"]
    assert full.rows == (18_346, 3_753, 7_341, 175_196)
    assert full.columns == 6_373
    assert full.speakers == (276, 20, 50)
    assert sum(full.speakers) == 346


def test_it_never_takes_the_name_of_a_real_corpus(demo):
    assert "msp" not in (demo.folder / "manifest.json").read_text().lower()
    assert "no speech was recorded" in demo.manifest.banner
    assert demo.manifest.banner.startswith(DEMO)


def test_speakers_keep_to_one_partition(demo):
    named = demo.samples.dropna(subset=["group"])
    assert named.groupby("group")["partition"].nunique().max() == 1
    assert named.groupby("partition")["group"].nunique().to_dict() == dict(
        zip(("train", "development", "test"), SIZES["demo"].speakers, strict=True)
    )
    assert demo.samples.loc[demo.samples["partition"] == "unlabelled", "group"].isna().all()


def test_labels_are_means_of_five_raters(demo):
    labels = demo.samples[list(TARGETS)].dropna().to_numpy()
    assert len(labels) == 4200
    assert labels.min() >= 1
    assert labels.max() <= 7
    np.testing.assert_allclose(labels * 5, np.round(labels * 5), atol=1e-9)
    correlation = np.corrcoef(labels.T)
    assert 0.7 < correlation[0, 2] < 0.9
    assert abs(correlation[0, 1]) < 0.35
    assert (labels.std(axis=0) > 0.8).all()


def test_columns_are_as_awkward_as_real_ones(demo):
    x = np.asarray(demo.view("hld"), np.float64)
    constant = x.std(axis=0) == 0
    assert 1 <= constant.sum() <= 5
    assert np.abs(x).max() > 1e6
    z = (x - x.mean(axis=0))[:, ~constant] / x[:, ~constant].std(axis=0)
    assert ((z**4).mean(axis=0) > 6).sum() > 10
    correlation = np.corrcoef(z.T)
    assert (np.abs(correlation - np.eye(len(correlation))).max(axis=0) > 0.3).mean() > 0.7


def test_partitions_differ_in_their_domains(demo):
    part = demo.partition("as_published")
    x = np.asarray(demo.view("hld"), np.float64)
    low, high = np.percentile(x, [1, 99], axis=0)
    x = np.clip(x, low, high)
    shift = np.abs(x[part == "train"].mean(axis=0) - x[part == "test"].mean(axis=0)) / (x.std(axis=0) + 1e-30)
    assert (shift > 0.1).mean() > 0.3


def test_ridge_learns_what_it_should(demo):
    from sklearn.linear_model import Ridge

    from affect.data.task import column_moments

    part = demo.partition("as_published")
    x = demo.view("hld")
    mean, scale = column_moments(x, np.flatnonzero(part == "train"))
    z = np.clip((x - mean) * scale, -100, 100)
    y = demo.samples[list(TARGETS)].to_numpy()
    predicted = Ridge(alpha=100).fit(z[part == "train"], y[part == "train"]).predict(z[part == "test"])
    arousal, valence, dominance = (ccc(predicted[:, t], y[part == "test", t]) for t in range(3))
    assert 0.55 < arousal < 0.75
    assert 0.12 < valence < 0.35
    assert 0.5 < dominance < 0.7


def ccc(a: np.ndarray, b: np.ndarray) -> float:
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    return float(2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))


def test_the_seed_decides(demo, tmp_path):
    again = make_twin(DEMO, tmp_path / "again", seed=0)
    other = make_twin(DEMO, tmp_path / "other", seed=1)
    assert again.manifest.fingerprint == demo.manifest.fingerprint
    assert other.manifest.fingerprint != demo.manifest.fingerprint


def test_a_change_of_the_numbers_needs_a_new_version(demo):
    """The constants are frozen: raise `twin.VERSION` together with these digits."""
    assert (twin.VERSION, demo.manifest.fingerprint[:12]) == (1, "a00df419de63")


def test_products_are_summed_without_rounding(demo):
    size = SIZES["demo"]
    people = twin._people(size, 0)
    _, factors = twin._rows(size, people, 0)
    assert np.array_equal(factors * 32, np.round(factors * 32))
    assert np.abs(factors).max() <= 8
    draw = np.random.default_rng(0)
    loadings = np.round((twin._loadings(64, draw) + twin._loadings(64, draw)) * 64).astype(np.float32) / 64
    exact = (factors[:500].astype(np.float64) @ loadings.astype(np.float64)).astype(np.float32)
    assert np.array_equal(factors[:500] @ loadings, exact)
    assert np.array_equal(factors[:500, ::-1] @ loadings[::-1], exact)


def test_ensure_makes_it_once(tmp_path):
    folder = tmp_path / "corpora" / DEMO
    made = ensure_twin(DEMO, folder)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert ensure_twin(DEMO, folder) == made == open_corpus(folder)
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp


def test_ensure_opens_what_another_process_finished_first(tmp_path, monkeypatch):
    folder = tmp_path / DEMO
    real = twin.write_corpus

    def late(target, **given):
        real(target, **given)
        return real(target, **given)

    monkeypatch.setattr(twin, "write_corpus", late)
    assert ensure_twin(DEMO, folder).manifest.name == DEMO


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown twin; there are podcast-twin, podcast-twin-demo"):
        make_twin("msp", tmp_path / "a")
    with pytest.raises(UserError, match="--seed -1"):
        make_twin(DEMO, tmp_path / "a", seed=-1)
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="exists already"):
        ensure_twin(DEMO, tmp_path / "a")
