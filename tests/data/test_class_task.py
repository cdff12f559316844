"""Tasks with a class to be told and several views side by side."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from affect import trial
from affect.data.corpus import Corpus, TargetInfo, class_target
from affect.data.task import Task
from affect.data.twin import twin_facts
from affect.data.writer import array_view
from affect.engine.plan import task_facts
from affect.errors import UserError
from affect.study import ALL_VIEWS
from affect.systems import get_system, stages
from affect.systems.base import Replicate, resolve_settings
from affect.systems.fitting import calibration_rows
from affect.systems.stack import Layout
from affect.systems.training import Network, Trainer, Update, facts_of
from affect.trial import TaskSpec, Trial

ROWS = {"train": 400, "development": 30, "test": 30}
RARE = 2


def made(rare: bool = True) -> pd.DataFrame:
    """Three classes of which the last has two rows in each partition, or none."""
    partition = np.repeat(list(ROWS), list(ROWS.values()))
    first = np.concatenate([[0], np.cumsum(list(ROWS.values()))[:-1]])
    emotion = (np.arange(len(partition)) % 2).astype(float)
    if rare:
        emotion[np.concatenate([first + 7, first + 20])] = RARE
    ids = [f"window-{row}" for row in range(len(partition))]
    return pd.DataFrame({"id": ids, "partition": partition, "emotion": emotion, "valence": 3.0})


def arrays() -> dict[str, np.ndarray]:
    g = np.random.default_rng(0)
    n = sum(ROWS.values())
    return {"eeg": g.normal(5, 3, (n, 4)).astype(np.float32), "eye": g.normal(-1, 0.1, (n, 2)).astype(np.float32)}


@pytest.fixture
def corpus(write) -> Corpus:
    return write(
        samples=made(),
        targets={"emotion": class_target("negative", "neutral", "positive"), "valence": TargetInfo(1, 5)},
        groups="unknown",
        protocols={"as_published": "partition"},
        views={name: array_view(array, name) for name, array in arrays().items()},
    )


def open_task(corpus: Corpus, view: str = "eeg+eye", fraction: float = 1.0, **changes) -> Task:
    given = {"targets": ("emotion",), "metric": "accuracy", "protocol": "as_published", **changes}
    return Task(corpus, TaskSpec(corpus.manifest.fingerprint, view, label_fraction=fraction, **given))


def test_views_lie_side_by_side_each_normalised_by_itself(corpus):
    both = open_task(corpus).fit_data(0)
    assert both.train.widths == (4, 2)
    parts = [open_task(corpus, view).fit_data(0).train.numpy() for view in ("eeg", "eye")]
    np.testing.assert_array_equal(both.train.numpy(), np.concatenate(parts, 1))
    index = np.array([3, 3, 77])
    np.testing.assert_array_equal(both.train.numpy(index), np.concatenate(parts, 1)[index])
    swapped = open_task(corpus, "eye+eeg").fit_data(0).train
    np.testing.assert_array_equal(swapped.numpy(), np.concatenate(parts[::-1], 1))


def test_a_missing_view_is_zeros(corpus):
    inputs = open_task(corpus).fit_data(0).train
    present = np.random.default_rng(0).random((len(inputs), 2)) < 0.5
    index = torch.tensor([5, 0, 5, 17])
    some = replace(inputs, present=present)
    assert inputs.views_of(index) is None
    np.testing.assert_array_equal(some.views_of(index).numpy(), present[index])
    mask = np.repeat(present[index], (4, 2), axis=1)
    np.testing.assert_array_equal(some.take(index).numpy(), np.where(mask, inputs.take(index).numpy(), 0))


def test_every_class_has_a_label_in_every_subset(corpus):
    for seed in range(20):
        subsets = [open_task(corpus, fraction=fraction).labelled(seed) for fraction in (0.0075, 0.02, 0.1, 1.0)]
        assert [len(rows) for rows in subsets] == [3, 8, 40, 400]
        assert all(set(small) < set(large) for small, large in pairwise(subsets))
        for fraction in (0.0075, 0.02):
            y = open_task(corpus, fraction=fraction).fit_data(seed).y_labelled
            assert set(y[:, 0]) == {0.0, 1.0, 2.0}
    assert len({tuple(open_task(corpus, fraction=0.02).labelled(seed)) for seed in range(5)}) == 5


def test_common_classes_are_drawn_as_often_as_they_occur(corpus):
    drawn = [open_task(corpus, fraction=0.1).fit_data(seed).y_labelled[:, 0] for seed in range(50)]
    share = np.mean(np.concatenate(drawn) == 0)
    assert abs(share - 199 / 400) < 0.03


def test_classes_are_neither_shifted_nor_scaled(corpus):
    fit = open_task(corpus).fit_data(0)
    assert (fit.classes, fit.metric) == (3, "accuracy")
    np.testing.assert_array_equal(fit.target_mean, [0.0])
    np.testing.assert_array_equal(fit.target_std, [1.0])
    facts = corpus.facts("as_published", ("emotion",), "eeg+eye")
    known = facts_of(fit)
    assert (facts.width, facts.widths, facts.classes) == (known.width, known.widths, known.classes) == (6, (4, 2), 3)


def test_what_does_not_fit_is_refused(corpus, write, tmp_path):
    with pytest.raises(UserError, match="target valence is continuous, but this study scores accuracy"):
        open_task(corpus, targets=("valence",))
    with pytest.raises(UserError, match="target emotion is class, but this study scores ccc"):
        open_task(corpus, metric="ccc")
    with pytest.raises(UserError, match="unknown view ear; the corpus has eeg, eye"):
        open_task(corpus, "eeg+ear")
    with pytest.raises(UserError, match="leaves 2 of 400 labelled training rows; it must leave at least 3"):
        open_task(corpus, fraction=0.005).labelled(0)
    lacking = write(
        tmp_path / "lacking",
        samples=made(rare=False),
        targets={"emotion": class_target("negative", "neutral", "positive")},
        groups="unknown",
        protocols={"as_published": "partition"},
        views={"eeg": array_view(arrays()["eeg"], "eeg")},
    )
    with pytest.raises(UserError, match="no training row of protocol as_published is labelled positive in emotion"):
        open_task(lacking, "eeg")


def test_missing_views_are_drawn_by_seed_and_nested(corpus):
    n = 400
    lacking = [~open_task(corpus, missing=share).fit_data(3).train.present for share in (0.1, 0.3, 0.9)]
    assert [rows[:, 1].sum() for rows in lacking] == [n // 10, 3 * n // 10, 9 * n // 10]
    assert not any(rows[:, 0].any() for rows in lacking)
    assert all((small <= large).all() for small, large in pairwise(lacking))
    fit = open_task(corpus, missing=0.3).fit_data(4)
    assert (~fit.train.present != lacking[1]).any()
    np.testing.assert_array_equal(fit.labelled, open_task(corpus).fit_data(4).labelled)
    assert fit.development.present is None, "only training rows lack a view"
    with pytest.raises(UserError, match="a task with the view eeg alone cannot do without it"):
        open_task(corpus, "eeg", missing=0.1)


def test_transductive_fits_see_the_inputs_of_test_rows(corpus):
    task = open_task(corpus, fraction=0.1, transductive=True)
    fit = task.fit_data(0)
    test = next(part for part in task.parts(0) if part.name == "test")
    np.testing.assert_array_equal(fit.train.numpy(fit.pool[40:]), test.inputs.numpy())
    np.testing.assert_array_equal(fit.pool[:40], fit.labelled)
    assert set(fit.train.rows[fit.labelled]) <= set(range(400))
    assert facts_of(fit).n_pool == 40 + ROWS["test"]
    assert open_task(corpus, fraction=0.1).fit_data(0).pool is None


def test_packs_give_each_replicate_its_own_missing_rows(corpus):
    data = [open_task(corpus, missing=0.5).fit_data(seed) for seed in (0, 1)]
    update = Update("u", ("unlabelled",), lambda p, batches, scalars: p["w"].sum(), (), ())
    network = Network(
        Layout({"w": (1,)}), lambda seed: {"w": torch.zeros(1)}, (update,), lambda p, c: p, lambda p, x: x
    )
    scalars = [{"learning_rate": 0.1, "weights": [1.0]}] * 2
    together = Trainer(network, data, (0, 1), scalars, 100, "cpu").sources["unlabelled"].next()
    for k in (0, 1):
        alone = Trainer(network, data[k : k + 1], (k,), scalars[:1], 100, "cpu").sources["unlabelled"].next()
        assert torch.equal(together.x[k], alone.x[0])
        assert torch.equal(together.present[k], alone.present[0])
        assert not alone.x[0][alone.present[0][:, 1] == 0, 4:].any()
        assert alone.x[0][:, :4].all()


def test_facts_name_all_views_and_targets_where_none_is_asked_for(corpus, made):
    facts = corpus.facts("as_published", view=ALL_VIEWS)
    assert (facts.view, facts.widths, facts.targets, facts.classes) == ("eeg+eye", (4, 2), ("emotion", "valence"), 0)
    alone = corpus.facts("as_published", ("emotion",))
    assert (alone.view, alone.targets, alone.classes) == ("eeg", ("emotion",), 3)
    twin = made("deap-twin-demo")
    facts = twin_facts("deap-twin-demo", "as_published", view=ALL_VIEWS)
    assert facts == twin.facts("as_published", view=ALL_VIEWS)
    assert (facts.view, facts.targets, facts.classes) == ("eeg+peripheral", ("quadrant",), 4)


def test_labelled_rows_lack_a_view_as_often_as_others(corpus):
    for fraction, missing in ((0.1, 0.3), (0.1, 0.9), (0.5, 0.9)):
        fit = open_task(corpus, fraction=fraction, missing=missing).fit_data(1)
        lacks = ~fit.train.present[:, 1]
        n = len(fit.labelled)
        assert lacks[fit.labelled].sum() == round(n * missing)
        assert lacks.sum() == round(n * missing) + round((400 - n) * missing)
        complete = fit.y_labelled[~lacks[fit.labelled], 0]
        assert set(complete) == {0, 1, 2}, "of each class a labelled row is complete as long as there is room"


def test_incomplete_rows_may_be_discarded(corpus):
    whole = open_task(corpus, fraction=0.1, missing=0.7)
    task = open_task(corpus, fraction=0.1, missing=0.7, discard=True)
    fit, all_rows = task.fit_data(2), whole.fit_data(2)
    complete = np.flatnonzero(all_rows.train.present.all(1))
    np.testing.assert_array_equal(fit.train.rows, all_rows.train.rows)
    np.testing.assert_array_equal(fit.pool, complete)
    known = np.intersect1d(all_rows.labelled, complete)
    np.testing.assert_array_equal(fit.labelled, known)
    np.testing.assert_array_equal(fit.y_labelled, whole._targets[all_rows.train.rows[known]])
    assert fit.train.present is None
    assert set(map(tuple, calibration_rows(fit, 5000).numpy())) == set(map(tuple, fit.train.numpy(complete)))
    facts = corpus.facts("as_published", ("emotion",), "eeg+eye")
    assert task_facts(facts, task.spec) == facts_of(fit)
    assert (task_facts(facts, whole.spec).n_labelled, facts_of(fit).n_labelled) == (40, 12)
    with pytest.raises(UserError, match=r"0\.9 of 12 labelled rows leaves 1 complete ones; .* needs at least 3"):
        task_facts(facts, replace(task.spec, label_fraction=0.03, missing=0.9))
    with pytest.raises(UserError, match="a task without any cannot discard"):
        open_task(corpus, discard=True)


def test_packs_pair_each_replicates_rows_with_its_labels_where_rows_are_discarded(corpus):
    """Of two views of noise, which no row shares with another, a batch tells the rows, and so their classes."""
    seeds = (0, 1, 2)
    data = [open_task(corpus, fraction=0.2, missing=0.5, discard=True).fit_data(seed) for seed in seeds]
    assert len({tuple(each.pool) for each in data}) == 3
    update = Update("u", ("labelled", "unlabelled"), lambda p, batches, scalars: p["w"].sum(), (), ())
    network = Network(
        Layout({"w": (1,)}), lambda seed: {"w": torch.zeros(1)}, (update,), lambda p, c: p, lambda p, x: x
    )
    scalars = [{"learning_rate": 0.1, "weights": [1.0]}] * 3
    sources = Trainer(network, data, seeds, scalars, 100, "cpu").sources
    labelled, unlabelled = sources["labelled"].next(), sources["unlabelled"].next()
    for k, (one, seed) in enumerate(zip(data, seeds, strict=True)):
        own = {tuple(row): y for row, (y,) in zip(one.train.numpy(one.labelled), one.y_labelled, strict=True)}
        assert [own[tuple(row)] for row in labelled.x[k].numpy()] == labelled.y[k, :, 0].tolist()
        pool = set(map(tuple, one.train.numpy(one.pool)))
        assert all(tuple(row) in pool for row in unlabelled.x[k].numpy()), "no discarded row is seen"
        alone = Trainer(network, [one], (seed,), scalars[:1], 100, "cpu").sources
        assert torch.equal(alone["labelled"].next().x[0], labelled.x[k])
        assert torch.equal(alone["unlabelled"].next().x[0], unlabelled.x[k])


@pytest.mark.parametrize("held", [{}, {"missing": 0.9}, {"missing": 0.9, "discard": True}, {"transductive": True}])
def test_what_is_held_back_shortens_no_epoch(corpus, held):
    task = open_task(corpus, fraction=0.1, **held)
    known = facts_of(task.fit_data(0))
    planned = task_facts(corpus.facts("as_published", ("emotion",), "eeg+eye"), task.spec)
    assert known == planned
    assert known.n_epoch == 400
    settings = {"batch_size": 40, "epochs": 3, "latent": 2, "hidden": "3"}
    system = get_system("SMVAE")
    given = resolve_settings(system, "paper", settings)
    assert system.steps(given, known) == 30
    replicate = Replicate(task.fit_data(0), given, 0)
    assert system.begin([replicate], device="cpu").steps == 10
    stage = stages.CORRNET
    own = {name: hp.default for name, hp in stage.hyperparameters.items()} | {
        "batch_size": 40,
        "epochs": 3,
        "latent": 2,
    }
    assert stage.steps(own, known) == 30


def test_packs_see_development_rows_in_the_units_of_each_seed(corpus):
    system, task = get_system("SMVAE"), open_task(corpus, fraction=0.2, missing=0.9)
    data = [task.fit_data(seed) for seed in (0, 1, 2)]
    given = resolve_settings(system, "paper", {"batch_size": 40, "epochs": 2, "latent": 2, "hidden": "3"})
    fitting = system.begin([Replicate(each, given, seed) for seed, each in enumerate(data)], device="cpu")
    for rows in ([0, 1, 2], [0, 2]):
        wanted = np.stack([data[row].development.numpy() for row in rows])
        np.testing.assert_array_equal(fitting.development.numpy(), wanted)
        fitting.stop([1])
        fitting.advance()
    whole = open_task(corpus).fit_data(0)
    fitting = system.begin([Replicate(whole, given, seed) for seed in (0, 1)], device="cpu")
    assert fitting.development.shape == (30, 6)


def test_ids_tell_versions_of_what_is_held_back(corpus, monkeypatch):
    """Tasks that hold nothing back keep their ids."""
    usual, held = open_task(corpus).spec, [{"missing": 0.1}, {"missing": 0.1, "discard": True}, {"transductive": True}]

    def ids() -> list[str]:
        specs = [usual, *(replace(usual, **changes) for changes in held)]
        return [Trial("toy", 1, "paper", {}, spec, 0, "cpu").id for spec in specs]

    now = ids()
    monkeypatch.setattr(trial, "HELD_BACK", trial.HELD_BACK + 1)
    assert [a == b for a, b in zip(now, ids(), strict=True)] == [True, False, False, False]
    assert trial.HELD_BACK - 1 == 2, "raised whenever one of the tests above had to be changed"


def test_a_transductive_task_with_missing_views(corpus):
    fit = open_task(corpus, fraction=0.1, missing=0.7, discard=True, transductive=True).fit_data(2)
    assert len(fit.pool) == 12 + ROWS["test"]
    np.testing.assert_array_equal(fit.pool[:12], fit.labelled)
    assert set(fit.train.rows[fit.pool[12:]]) == set(range(430, 460))


def test_incomplete_rows_are_those_that_lack_a_view(corpus):
    task = open_task(corpus, missing=0.3)
    fit, incomplete = task.fit_data(0), task.incomplete(0)
    lacks = ~fit.train.present[:, 1]
    np.testing.assert_array_equal(incomplete.rows, fit.train.rows[lacks])
    assert not incomplete.numpy()[:, 4:].any()
    truth = replace(incomplete, present=None).numpy()
    np.testing.assert_array_equal(truth, replace(fit.train, present=None).numpy()[lacks])
    assert open_task(corpus).incomplete(0) is None
    assert open_task(corpus, missing=0.3, discard=True).incomplete(0) is None
    whole = replace(fit.train, present=None).numpy()[:, 4:]
    assert task.norm_of_last_view(0) == pytest.approx(np.linalg.norm(whole))
    np.testing.assert_allclose(whole[~lacks].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(whole[~lacks].std(0), 1, rtol=1e-5)


@pytest.mark.parametrize("discard", [False, True])
def test_what_a_seed_hides_is_in_nothing_that_it_is_given(corpus, write, tmp_path, discard):
    """Neither in rows nor in the units of development and test."""
    held = {"fraction": 0.2, "missing": 0.6, "discard": discard}
    hidden = np.flatnonzero(~open_task(corpus, fraction=0.2, missing=0.6).fit_data(5).train.present[:, 1])
    other = arrays()
    other["eye"][hidden] = other["eye"][hidden] * 3 + 7
    if discard:
        other["eeg"][hidden] -= 5
    changed = write(
        tmp_path / "changed",
        samples=made(),
        targets={"emotion": class_target("negative", "neutral", "positive"), "valence": TargetInfo(1, 5)},
        groups="unknown",
        protocols={"as_published": "partition"},
        views={name: array_view(array, name) for name, array in other.items()},
    )
    one, two = (open_task(each, **held) for each in (corpus, changed))
    a, b = one.fit_data(5), two.fit_data(5)
    used = a.pool if discard else np.arange(400)
    np.testing.assert_array_equal(a.train.numpy(used), b.train.numpy(used))
    np.testing.assert_array_equal(a.development.numpy(), b.development.numpy())
    np.testing.assert_array_equal(one.parts(5)[2].inputs.numpy(), two.parts(5)[2].inputs.numpy())
    assert not np.array_equal(one.fit_data(6).development.numpy(), a.development.numpy()), "other rows, other units"
    no_more = open_task(corpus).fit_data(6).development
    assert no_more.mean is not a.development.mean
    np.testing.assert_array_equal(no_more.numpy(), open_task(corpus).fit_data(5).development.numpy())
