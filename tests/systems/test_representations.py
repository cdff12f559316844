"""Losses of the networks that learn from inputs alone against transcriptions, and the stages that train them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from affect.errors import UserError
from affect.systems import get_system, stages
from affect.systems.base import Facts, Replicate, fit_pack, resolve_settings
from affect.systems.correlation import covariance
from affect.systems.stages import CORRNET, DCCA, DCCAE, MAE, complete_rows
from affect.systems.training import Batch, Trainer, facts_of
from tests.systems.test_correlation import canonical_correlations
from tests.systems.toy import class_data

WIDTHS = (5, 4)
FACTS = Facts(9, ("emotion",), 30, 240, 100, WIDTHS, 3)
SMALL = {"hidden": "4-3", "latent": 2, "batch_size": 40, "epochs": 4, "learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def forgotten():
    stages._kept.clear()


def settings_of(stage, **changes):
    given = {name: hp.default for name, hp in stage.hyperparameters.items()}
    return given | {name: value for name, value in SMALL.items() if name in given} | changes


def drawn(network, rows=12):
    """(parameters of two replicates, batches) in float64."""
    g = torch.Generator().manual_seed(0)
    p = {n: 0.6 * torch.randn(2, *s, generator=g, dtype=torch.float64) for n, s in network.layout.shapes.items()}
    x = torch.randn(2, rows, sum(WIDTHS), generator=g, dtype=torch.float64)
    return p, {"unlabelled": Batch(x, x[..., :0], (), ())}


def perceptron(p, name, part, x):
    """softplus layers and a linear one, of one replicate."""
    value = x @ p[f"{name}.{part}"] + p[f"{name}.b1"]
    layer = 2
    while f"{name}.w{layer}" in p:
        value = np.log1p(np.exp(value)) @ p[f"{name}.w{layer}"] + p[f"{name}.b{layer}"]
        layer += 1
    return value


def evaluated(stage, **scalars):
    """[(loss, parameters, views) of each replicate], as NumPy."""
    network = stage.network(settings_of(stage, **({"ridge": 1e-10} if "ridge" in stage.hyperparameters else {})), FACTS)
    p, batches = drawn(network)
    given = {name: torch.tensor(value, dtype=torch.float64) for name, value in scalars.items()}
    losses = network.updates[0].loss(p, batches, given)
    x = batches["unlabelled"].x.numpy()
    return [(losses[k].item(), {n: v[k].numpy() for n, v in p.items()}, (x[k, :, :5], x[k, :, 5:])) for k in range(2)]


def test_mae_decodes_all_views_from_all_and_from_each_alone():
    for loss, p, views in evaluated(MAE):
        total = 0.0
        for kept in ((0, 1), (0,), (1,)):
            given = [view if v in kept else np.zeros_like(view) for v, view in enumerate(views)]
            z = sum(perceptron(p, f"encoder{v + 1}", "x", view) for v, view in enumerate(given))
            for v, view in enumerate(views):
                total += np.sum((perceptron(p, f"decoder{v + 1}", "z", z) - view) ** 2) / len(view)
        assert loss == pytest.approx(total, rel=1e-10)


def test_dcca_and_dccae():
    weights = [0.3, 2.0]
    found = evaluated(DCCA), evaluated(DCCAE, reconstruction=weights)
    for k, weight in enumerate(weights):
        loss, p, views = found[0][k]
        codes = [perceptron(p, f"encoder{v + 1}", "x", view) for v, view in enumerate(views)]
        assert loss == pytest.approx(-canonical_correlations(*codes).sum(), abs=1e-6)
        loss, p, views = found[1][k]
        codes = [perceptron(p, f"encoder{v + 1}", "x", view) for v, view in enumerate(views)]
        errors = sum(
            np.sum((perceptron(p, f"decoder{v + 1}", "z", code) - views[v]) ** 2) for v, code in enumerate(codes)
        )
        assert loss == pytest.approx(weight * errors / 12 - canonical_correlations(*codes).sum(), abs=1e-6)


def test_corrnet():
    weights = [2.0, 0.5]
    for weight, (loss, p, views) in zip(weights, evaluated(CORRNET, correlation=weights), strict=True):

        def hidden(*given, p=p):
            return 1 / (1 + np.exp(-p["b"] - sum(x @ p[f"w{v}"] for v, x in given)))

        first, second = (1, views[0]), (2, views[1])
        codes = hidden(first, second), hidden(first), hidden(second)
        total = 0.0
        for h in codes:
            for v, view in enumerate(views, 1):
                total += np.sum((h @ p[f"w{v}"].T + p[f"c{v}"] - view) ** 2) / len(view)
        total -= weight * sum(np.corrcoef(codes[1][:, j], codes[2][:, j])[0, 1] for j in range(2))
        assert loss == pytest.approx(total, rel=1e-9)


def learned(stage, data, seeds=(0,), **changes):
    given = settings_of(stage, **changes)
    replicates = [Replicate(data, given, seed) for seed in seeds]
    return stage.network(given, facts_of(data)), stage.learn("test", replicates, "cpu")


@pytest.mark.parametrize("stage", [DCCA, DCCAE])
def test_canonical_codes_are_white_on_the_training_rows(stage):
    data = class_data()
    network, (p,) = learned(stage, data, ridge=1e-8)
    with torch.no_grad():
        codes = network.predict(p, data.train.take(slice(None)))
    own = covariance(codes, codes)[0]
    for at in (slice(0, 2), slice(2, 4)):
        torch.testing.assert_close(own[at, at], torch.eye(2).double(), atol=1e-2, rtol=0)


def shared_factors(n=400, missing=0.4):
    """Two views of two common factors; a share of the rows lacks the second."""
    data, g = class_data(n=n), np.random.default_rng(3)
    factors = g.standard_normal((n + 100, 2))
    arrays = tuple(
        (factors @ g.standard_normal((2, w)) + 0.3 * g.standard_normal((n + 100, w))).astype(np.float32) for w in WIDTHS
    )
    present = np.ones((n, 2), bool)
    present[g.permutation(n)[: round(missing * n)], 1] = False
    whole = replace(data.train, arrays=arrays)
    return replace(data, train=replace(whole, present=present)), whole


@pytest.mark.parametrize("stage", [DCCAE, CORRNET])
def test_missing_views_are_found_from_the_others(stage):
    data, whole = shared_factors()
    changes = {"epochs": 60, "learning_rate": 1e-2, "latent": 4} | ({"reconstruction": 1.0} if stage is DCCAE else {})
    network, (p,) = learned(stage, data, **changes)
    x, present = data.train.take(slice(None)), torch.from_numpy(data.train.present)
    with torch.no_grad():
        filled = network.impute(p, x, present.float())[0].numpy()
    truth, lacking = whole.numpy(), ~data.train.present[:, 1]
    np.testing.assert_array_equal(filled[:, :5], truth[:, :5])
    np.testing.assert_array_equal(filled[~lacking], truth[~lacking])
    error, floor = (np.mean((guess - truth)[lacking, 5:] ** 2) for guess in (filled, 0 * truth))
    assert error < 0.35 * floor


def test_a_stage_is_trained_once_for_all_that_share_it(monkeypatch):
    """SVM and TSVM, any labels; other inputs, settings, seeds or lengths of an epoch are another stage."""
    counted = []
    train = stages.Stage._train
    monkeypatch.setattr(stages.Stage, "_train", lambda s, n, r, *rest: counted.append(len(r)) or train(s, n, r, *rest))
    data = class_data()

    def fit(name, data, seeds=(0, 1), **changes):
        system = get_system(name)
        given = resolve_settings(system, "paper", SMALL, changes)
        return fit_pack(system, [Replicate(data, given, seed) for seed in seeds], device="cpu")

    first = fit("DCCA+SVM", data)[0].predict(data.development)
    assert counted == [2]
    fit("DCCA+TSVM", replace(data, labelled=data.labelled[:20], y_labelled=data.y_labelled[:20]))
    assert counted == [2]
    fit("DCCA+SVM", data, seeds=(1, 2))
    fit("DCCA+SVM", data, latent=3)
    fit("MAE+SVM", data)
    shifted = replace(data.train, arrays=tuple(array + 0.1 for array in data.train.arrays))
    fit("DCCA+SVM", replace(data, train=shifted))
    fit("DCCA+SVM", replace(data, epoch_rows=480))
    assert counted == [2, 1, 2, 2, 2, 2]
    stages._kept.clear()
    np.testing.assert_array_equal(fit("DCCA+SVM", data, seeds=(3, 0))[1].predict(data.development), first)


def test_a_process_keeps_so_many(monkeypatch):
    monkeypatch.setattr(stages, "MOST", 2)
    for seed in range(4):
        learned(MAE, class_data(), (seed,), epochs=1)
    assert len(stages._kept) == 2


@pytest.mark.parametrize("name", ["MAE+SVM", "MAE+TSVM", "DCCA+SVM", "DCCA+TSVM", "DCCAE+SVM", "DCCAE+TSVM"])
def test_classes_are_told_from_representations(name):
    data, system = class_data(), get_system(name)
    given = resolve_settings(system, "paper", SMALL, {"epochs": 30, "latent": 4})
    system.structure(given, facts_of(data))
    (fit,) = fit_pack(system, [Replicate(data, given, 0)], device="cpu")
    assert np.mean(fit.predict(data.development) == data.y_development) > 0.5


def test_a_diverged_stage_is_a_diverged_fit_and_no_other():
    system, data = get_system("DCCAE+SVM"), class_data()
    given = [resolve_settings(system, "paper", SMALL, {"learning_rate": rate}) for rate in (1e30, 1e-3)]
    fits = fit_pack(system, [Replicate(data, each, 0) for each in given], device="cpu")
    assert [fit.status for fit in fits] == ["diverged", "complete"]
    assert np.isnan(fits[0].predict(data.development)).all()
    (alone,) = fit_pack(system, [Replicate(data, given[1], 0)], device="cpu")
    np.testing.assert_array_equal(fits[1].predict(data.development), alone.predict(data.development))


def test_constant_columns_are_fine():
    data = class_data()
    arrays = tuple(np.concatenate([array, np.zeros((len(array), 1), np.float32)], 1) for array in data.train.arrays)
    mean, scale = np.zeros(11), np.concatenate([np.ones(5), [0], np.ones(4), [0]])
    inputs = {
        part: replace(getattr(data, part), arrays=arrays, mean=mean, scale=scale) for part in ("train", "development")
    }
    for stage in (MAE, DCCA, DCCAE, CORRNET):
        assert learned(stage, replace(data, **inputs))[1] != [None]


def test_only_rows_with_every_view_are_learned_from():
    data = class_data(missing=0.25)
    np.testing.assert_array_equal(complete_rows("test", data), np.flatnonzero(data.train.present.all(1)))
    arrays = tuple(array.copy() for array in data.train.arrays)
    arrays[0][:240][~data.train.present[:, 1]] = 7
    other = replace(data, train=replace(data.train, arrays=arrays))
    (first,), (second,) = learned(DCCAE, data)[1], learned(DCCAE, other)[1]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_stage_learns_from_the_pool_alone():
    """In a transductive task: from the labelled rows and the test part."""
    data = class_data()
    pool = np.concatenate([data.labelled, np.arange(200, 240)])
    arrays = tuple(array.copy() for array in data.train.arrays)
    for array in arrays:
        array[np.setdiff1d(np.arange(240), pool)] += 3
    given = replace(data, pool=pool)
    for stage in (MAE, DCCAE):
        (first,), (same,) = (
            learned(stage, each)[1] for each in (given, replace(given, train=replace(data.train, arrays=arrays)))
        )
        assert all(torch.equal(first[name], same[name]) for name in first)
        (other,) = learned(stage, data)[1]
        assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_stage_takes_as_many_steps_however_many_rows_have_every_view(monkeypatch):
    steps = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda trainer: steps.append(1) or step(trainer))
    for missing in (0.0, 0.5, 0.8):
        learned(CORRNET, class_data(missing=missing))
    assert len(steps) == 3 * 4 * 240 / 40


def refusal(name, data, **changes):
    def attempt():
        system = get_system(name)
        given = resolve_settings(system, "paper", SMALL, changes)
        system.structure(given, facts_of(data))
        fit_pack(system, [Replicate(data, given, 0)], device="cpu")

    with pytest.raises(UserError) as refused:
        attempt()
    return str(refused.value)


def test_too_few_complete_rows_are_refused_when_planning():
    system = get_system("DCCAE")
    settings = resolve_settings(system, "paper", {"imputer_latent": 8, "latent": 8})
    system.structure(settings, FACTS)
    assert system.structure(settings, replace(FACTS, n_complete=16)) == system.structure(settings, FACTS)
    with pytest.raises(UserError, match=r"^DCCAE: 15 rows have every view, .* choose imputer_latent of at most 7\.$"):
        system.structure(settings, replace(FACTS, n_complete=15))


def test_what_cannot_be_learned_is_said():
    data = class_data()
    one = replace(data, train=replace(data.train, arrays=data.train.arrays[:1], mean=np.zeros(5), scale=np.ones(5)))
    assert refusal("MAE+SVM", one) == "MAE+SVM relates views to each other, but there is one view only."
    assert refusal("DCCA+SVM", data, latent=30) == (
        "DCCA+SVM: 240 rows have every view, and batches of 40 are too few for 30 latent dimensions; choose batch_size so "
        "that they have at least 60, or latent of at most 20."
    )
    few = class_data(missing=0.95)
    assert refusal("DCCA+TSVM", few, latent=8) == (
        "DCCA+TSVM: 12 rows have every view, and batches of 12 are too few for 8 latent dimensions; choose latent of at "
        "most 6."
    )
    assert refusal("DCCAE+SVM", class_data(missing=1.0)) == "DCCAE+SVM: no training row has view 2; leave the view out."
    present = np.ones((240, 2), bool)
    present[:100, 0], present[100:, 1] = False, False
    apart = replace(data, train=replace(data.train, present=present))
    assert refusal("MAE+SVM", apart) == "MAE+SVM: no training row has every view, so nothing relates them."
    kept = data.y_labelled[:, 0] != 2
    lacking = replace(data, labelled=data.labelled[kept], y_labelled=data.y_labelled[kept])
    assert "labelled rows is of class 2 of emotion." in refusal("DCCA+SVM", lacking)
    assert "hidden=4- is not a list of widths" in refusal("DCCA+SVM", data, hidden="4-")
