"""What fits put in the place of missing views, and what networks learned: from a fit to the frames of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import affect.systems
from affect.data.corpus import Corpus, class_target
from affect.data.task import Inputs
from affect.data.writer import array_view, write_corpus
from affect.engine.evidence import evidence
from affect.engine.executors import Inline
from affect.engine.packs import Pack
from affect.engine.plan import plan
from affect.engine.provenance import Provenance
from affect.engine.results import ALL_ROWS, MISSING_ROWS, PackResult, Workplace
from affect.engine.run import run
from affect.engine.store import Store
from affect.engine.work import open_task, run_pack
from affect.report import Evidence
from affect.report.analysis import analyse
from affect.report.figures import draw
from affect.resolved import Resolved
from affect.study import Figure, Row, Scale, Study
from affect.systems.base import AtOnce, Fit, Fitting, Replicate
from affect.systems.shards import ALONE, Shard
from tests.engine.engine_fakes import Toy
from tests.engine.helpers import NO_ROWS, Silent

HALF = 0.5
ROWS = (
    Row("filler", label="Filler", factors={"missing": 0.3}, missing=0.3),
    Row("filler", label="Dropper", factors={"missing": 0.3}, missing=0.3, discard=True),
    Row("filler", label="Whole"),
)
FIGURE = Figure("imputed", "imputed", "Imputed", "ours", factors=("missing",))


@dataclass(frozen=True)
class Filler(Toy):
    """Says class 0, fills in half of the truth's negative, and has learned what its seed is."""

    name: str = "filler"

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        return AtOnce(replicates, self._fit)

    def _fit(self, replicate: Replicate) -> Fit:
        def impute(inputs: Inputs) -> np.ndarray:
            truth, found = replace(inputs, present=None).numpy(), inputs.numpy()
            return np.where(found == 0, -HALF * truth, found)

        curve = [(epoch, "development", "emotion", 0.1 * epoch) for epoch in (1, 2, 3)]
        learned = [(epoch, "weight view 1", replicate.seed + epoch) for epoch in (1, 2, 3)]
        return Fit("complete", lambda inputs: np.zeros((len(inputs), 1)), {"emotion": 2}, curve, learned, impute)

    def scored_targets(self, settings: object, targets: Sequence[str]) -> tuple[str, ...]:
        return tuple(targets)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    g = np.random.default_rng(0)
    partition = np.repeat(["train", "development", "test", "unlabelled"], [90, 30, 30, 50])
    emotion = np.where(partition == "unlabelled", np.nan, np.arange(200) % 3)
    told = np.array([[0, 1], [1, 0], [-1, -1]])[np.arange(200) % 3]
    return write_corpus(
        tmp_path / "two",
        name="two",
        title="Two",
        banner="Two views for tests",
        synthetic=True,
        source="made up",
        licence="none",
        samples=pd.DataFrame({"id": [f"w{i}" for i in range(200)], "partition": partition, "emotion": emotion}),
        targets={"emotion": class_target("negative", "neutral", "positive")},
        groups="unknown",
        protocols={"as_published": "partition"},
        views={
            name: array_view((g.normal(size=(200, width)) + 2 * centres).astype(np.float32), name)
            for name, (width, centres) in {"eeg": (4, told[:, :1]), "eye": (2, told[:, 1:])}.items()
        },
    )


@pytest.fixture
def resolved(corpus: Corpus) -> Resolved:
    scales = {"demo": Scale("two", ROWS, 2)}
    study = Study("imputing", "Imputing", "none", (), "accuracy", scales, marks=(), view="all", figures=(FIGURE,))
    facts = corpus.facts("as_published", view="all")
    return Resolved(study.on(facts), "demo", facts, ROWS, (0.5,), 2, 1, "paper", "as_published", {}, "cpu")


def test_errors_and_what_was_learned_reach_a_report(
    corpus: Corpus, resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affect.systems, "registry", lambda: {"filler": Filler()})
    store = Store(str(tmp_path / "results"), "imputing")
    place = Workplace("imputing", "two", str(corpus.folder), Provenance("", None, None, ""))
    with store.locked():
        run(resolved, store, Inline(), place, Silent())
    frames = evidence(resolved, store)

    errors = frames["errors"].set_index(["system", "rows", "seed"])["value"].sort_index()
    assert set(frames["errors"]["system"]) == {"Filler, missing 0.3"}, "who has no incomplete rows has no errors"
    np.testing.assert_allclose(errors["Filler, missing 0.3", MISSING_ROWS], 1 + HALF, rtol=1e-6)
    spec = next(t.task for t in _trials(resolved, store) if t.task.missing and not t.task.discard)
    task = open_task(str(corpus.folder), spec)
    for seed in (0, 1):
        data = task.fit_data(seed)
        eye = replace(data.train, present=None).numpy()[:, 4:]
        lacks = ~data.train.present[:, 1]
        assert lacks.sum() == round(0.3 * 45) + round(0.3 * 95)
        expected = (1 + HALF) * np.sqrt((eye[lacks] ** 2).sum() / (eye**2).sum())
        assert errors["Filler, missing 0.3", ALL_ROWS, seed] == pytest.approx(expected)

    learned = frames["learned"]
    assert set(learned["kept"]) == {2}
    one = learned[(learned["system"] == "Whole") & (learned["seed"] == 1)]
    assert one[["epoch", "name", "value"]].to_numpy().tolist() == [[e, "weight view 1", 1.0 + e] for e in (1, 2, 3)]
    assert set(frames["values"]["target"]) == {"emotion"}, "an error is no score"
    assert set(frames["curves"]["target"]) == {"emotion"}

    shown = frames["imputed"]
    assert set(shown["system"]) == {"Filler, missing 0.3"}
    assert shown["sample"].nunique() == round(0.3 * 45) + round(0.3 * 95)
    assert sorted(shown["feature"].unique()) == [0, 1]
    np.testing.assert_allclose(shown["prediction"], -HALF * shown["truth"], rtol=1e-6)
    truth = shown.pivot(index="sample", columns="feature", values="truth")
    fit = task.fit_data(0)
    ids = corpus.samples["id"].to_numpy()[fit.train.rows]
    own = pd.DataFrame(replace(fit.train, present=None).numpy()[:, 4:], index=ids).loc[truth.index]
    np.testing.assert_allclose(truth, own, rtol=1e-6)

    found = analyse(Evidence(resolved, **frames))
    assert draw(FIGURE, found) is not None
    assert draw(FIGURE, analyse(Evidence(resolved, **(frames | {"imputed": shown[:0]})))) is None
    cube = found.cube
    place_of = cube.systems.index("Filler, missing 0.3")
    np.testing.assert_allclose(cube.errors[MISSING_ROWS][0, place_of], 1 + HALF, rtol=1e-6)
    assert np.isnan(cube.errors[MISSING_ROWS][0, cube.systems.index("Whole")]).all()


BOUND = Row(
    "SiMVAE",
    ({"hidden": "12", "latent": 3, "batch_size": 40, "epochs": 12, "learning_rate": 1e-2},),
    label="PartialData",
    missing=0.5,
    discard=True,
)


@pytest.mark.parametrize("discard", [True, False])
def test_a_pack_of_seeds_with_missing_views_is_its_seeds_alone(
    corpus: Corpus, resolved: Resolved, discard: bool
) -> None:
    """A row of the study and its bound, three seeds in one pack, on classes that both views tell apart."""
    wanted = replace(resolved, rows=(replace(BOUND, discard=discard),), seeds=3)
    place = Workplace("imputing", "two", str(corpus.folder), Provenance("", None, None, ""))
    trials = tuple(plan(wanted, NO_ROWS).trials)
    assert [trial.seed for trial in trials] == [0, 1, 2]
    together = _scores(run_pack(Pack(trials), place))
    assert all(value > 0.8 for (*_, metric), value in together.items() if metric == "accuracy"), "chance: 0.33"
    for trial in trials:
        alone = _scores(run_pack(Pack((trial,)), place))
        assert alone == pytest.approx({key: together[key] for key in alone}, abs=1e-5)


def _scores(result: PackResult) -> dict[tuple[int, str, str, str], float]:
    rows = result.trials.to_pandas()
    return {(row.seed, row.partition, row.target, row.metric): row.value for row in rows.itertuples()}


def _trials(resolved: Resolved, store: Store) -> list:
    return list(plan(resolved, store.rows()).trials)
