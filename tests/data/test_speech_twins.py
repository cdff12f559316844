"""The twins of speech corpora: scales, raters, speakers, awkward columns, and the shift between corpora."""

from __future__ import annotations

import numpy as np
import pytest

from affect.data.task import column_moments
from affect.data.twin import columns, speech, twin_facts
from affect.data.twin.speech import IEMOCAP, IMPROV, PODCAST, TARGETS

SPEECH = {"podcast": PODCAST, "iemocap": IEMOCAP, "improv": IMPROV}


@pytest.fixture
def demo(made):
    return made("podcast-twin-demo")


def test_rows_and_columns(demo):
    facts = demo.facts("leak_free")
    assert facts.rows == {"train": 2400, "development": 600, "test": 1200, "unlabelled": 4800}
    assert (facts.width, facts.synthetic, facts.groups, facts.findings) == (128, True, "speaker", ())
    assert demo.facts("as_published").rows == facts.rows


def test_full_scale():
    facts = {of: twin_facts(f"{of}-twin", "leak_free") for of in SPEECH}
    assert {fact.width for fact in facts.values()} == {6_373}
    assert facts["podcast"].pool == 193_542
    assert facts["podcast"].rows["test"] == 7_341
    assert sum(facts["iemocap"].rows.values()) == 10_527
    assert sum(facts["improv"].rows.values()) == 8_438
    assert [sum(population.full.speakers) for population in SPEECH.values()] == [346, 10, 12]


@pytest.mark.parametrize("of", SPEECH)
def test_speakers_keep_to_one_partition(made, of):
    samples = made(f"{of}-twin-demo").samples
    named = samples.dropna(subset=["group"])
    assert named.groupby("group")["partition"].nunique().max() == 1
    speakers = named.groupby("partition")["group"].nunique()
    assert tuple(speakers[["train", "development", "test"]]) == SPEECH[of].demo.speakers
    assert samples.loc[samples["partition"] == "unlabelled", "group"].isna().all()
    assert (samples["partition"] == "unlabelled").sum() == SPEECH[of].demo.rows[3]


@pytest.mark.parametrize(("of", "sessions"), [("iemocap", (3, 1, 1)), ("improv", (4, 1, 1))])
def test_sessions_of_two_keep_to_one_partition(made, of, sessions):
    samples = made(f"{of}-twin-demo").samples
    session = samples["group"].str.extract(r"^(session-\d+)-speaker-[ab]$")[0]
    assert samples.groupby(session)["group"].nunique().eq(2).all()
    assert samples.groupby(session)["partition"].nunique().eq(1).all()
    assert tuple(samples.groupby("partition")["group"].nunique()[["train", "development", "test"]] // 2) == sessions


@pytest.mark.parametrize("of", SPEECH)
def test_labels_are_means_of_raters(made, of):
    population = SPEECH[of]
    labels = made(f"{of}-twin-demo").samples[list(TARGETS)].dropna().to_numpy()
    assert len(labels) == sum(population.demo.rows[:3])
    assert population.raters == {"podcast": 5, "iemocap": 2, "improv": 5}[of]
    assert (population.low, population.high) == ((1, 7) if of == "podcast" else (1, 5))
    assert labels.min() >= population.low
    assert labels.max() <= population.high
    np.testing.assert_allclose(labels * population.raters, np.round(labels * population.raters), atol=1e-9)
    correlation = np.corrcoef(labels.T)
    low, high = (0.7, 0.9) if of == "podcast" else (0.5, 0.75)
    assert low < correlation[0, 2] < high
    assert abs(correlation[0, 1]) < 0.35
    assert (labels.std(axis=0) > 0.12 * (population.high - population.low)).all()


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


FLOORS = {
    "podcast": ((0.55, 0.75), (0.12, 0.35), (0.5, 0.7)),
    "iemocap": ((0.55, 0.7), (0.28, 0.45), (0.4, 0.55)),
    "improv": ((0.5, 0.65), (0.25, 0.4), (0.35, 0.55)),
}


@pytest.mark.parametrize("of", SPEECH)
def test_ridge_learns_what_it_should(made, of):
    within = ridge_ccc(made(f"{of}-twin-demo"), made(f"{of}-twin-demo"))
    for target, found, (low, high) in zip(TARGETS, within, FLOORS[of], strict=True):
        assert low < found < high, target


@pytest.mark.parametrize("of", ["iemocap", "improv"])
def test_what_was_learnt_on_podcasts_helps_elsewhere_but_less(made, demo, of):
    target = made(f"{of}-twin-demo")
    within, across = ridge_ccc(target, target), ridge_ccc(demo, target)
    assert 0.2 < across[0] < within[0] - 0.08
    for here, there in zip(within, across, strict=True):
        assert 0 < there < here + 0.05


def test_every_corpus_has_its_own_people_and_rooms(made):
    x = {of: made(f"{of}-twin-demo").view("hld") for of in SPEECH}
    mean, scale = column_moments(x["podcast"], np.arange(len(x["podcast"])))
    for a, b in (("iemocap", "podcast"), ("improv", "podcast"), ("iemocap", "improv")):
        low, high = (np.median((x[of] - mean) * scale, axis=0) for of in (a, b))
        assert (np.abs(low - high) > 0.2).mean() > 0.3
        assert not np.array_equal(x[a][:100], x[b][:100])


def ridge_ccc(source, target) -> list[float]:
    """Test CCC on `target` of ridge trained on `source`, per attribute, scales fitted by their ends."""
    from sklearn.linear_model import Ridge

    part = source.partition("as_published")
    train = np.flatnonzero(part == "train")
    mean, scale = column_moments(source.view("hld"), train)
    x, there = (np.clip((corpus.view("hld") - mean) * scale, -100, 100) for corpus in (source, target))
    y = source.samples[list(TARGETS)].to_numpy()
    low, high = (corpus.manifest.targets["arousal"] for corpus in (source, target))
    test = target.partition("as_published") == "test"
    predicted = Ridge(alpha=100).fit(x[train], y[train]).predict(there[test])
    predicted = high.low + (predicted - low.low) * (high.high - high.low) / (low.high - low.low)
    known = target.samples[list(TARGETS)].to_numpy()[test]
    return [ccc(predicted[:, t], known[:, t]) for t in range(len(TARGETS))]


def ccc(a: np.ndarray, b: np.ndarray) -> float:
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    return float(2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))


@pytest.mark.parametrize("of", SPEECH)
def test_products_are_summed_without_rounding(of):
    _, factors = speech.rows(SPEECH[of], SPEECH[of].demo, 0)
    assert factors.shape[1] == speech.FACTORS
    assert np.array_equal(factors * 32, np.round(factors * 32))
    assert np.abs(factors).max() <= 8
    loadings = columns.mixture(columns.Columns(64), speech.FACTORS, np.random.default_rng(0)).loadings
    exact = (factors[:500].astype(np.float64) @ loadings.astype(np.float64)).astype(np.float32)
    assert np.array_equal(factors[:500] @ loadings, exact)
    assert np.array_equal(factors[:500, ::-1] @ loadings[::-1], exact)
