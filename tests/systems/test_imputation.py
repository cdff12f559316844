"""SMVAE after an imputation, and CoNet: what is filled in, what trains on it, and that packs change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from affect.data.task import Inputs
from affect.errors import UserError
from affect.systems import get_system, stages
from affect.systems.base import Facts, Fit, Replicate, fit_pack, resolve_settings
from affect.systems.imputation import side_by_side
from affect.systems.training import Batch, Trainer, facts_of
from tests.systems.test_representations import perceptron, shared_factors
from tests.systems.toy import class_data

IMPUTED = ("MeanImputation", "SoftImputeALS", "DCCAE", "CorrNet")
SMALL = {"hidden": "6-4", "latent": 2, "batch_size": 40, "epochs": 3, "learning_rate": 3e-3}
SMALL |= {f"imputer_{name}": value for name, value in SMALL.items()}


@pytest.fixture(autouse=True)
def forgotten():
    stages._kept.clear()


def fitted(name: str, *data, seeds=None, **changes) -> list[Fit]:
    system = get_system(name)
    given = resolve_settings(system, "paper", SMALL, changes)
    system.structure(given, facts_of(data[0]))
    return fit_pack(
        system,
        [Replicate(d, given, seed) for d, seed in zip(data, seeds or range(len(data)), strict=True)],
        device="cpu",
    )


def lacking(seed: int, share: float = 0.4):
    """Tasks whose missing rows differ, as those of different seeds do."""
    data = class_data(seed)
    present = np.ones((240, 2), bool)
    present[np.random.default_rng(seed).permutation(240)[: round(share * 240)], 1] = False
    return replace(data, train=replace(data.train, present=present))


@pytest.mark.parametrize("name", IMPUTED)
def test_a_fit_fills_in_what_rows_lack_and_nothing_else(name):
    data = lacking(0)
    (fit,) = fitted(name, data)
    filled, seen, there = fit.impute(data.train), data.train.numpy(), data.train.present[:, 1]
    np.testing.assert_array_equal(filled[:, :5], seen[:, :5])
    np.testing.assert_array_equal(filled[there], seen[there])
    assert filled.dtype == np.float32
    assert (filled[~there, 5:].any(axis=1) == (name != "MeanImputation")).all()
    np.testing.assert_allclose(fit.impute(data.development), data.development.numpy())


@pytest.mark.parametrize("name", [*IMPUTED, "CoNet"])
def test_a_pack_is_its_replicates_alone(name):
    """But for rounding: products of small matrices are summed in another order where a pack has one replicate."""
    data = [lacking(seed) for seed in range(3)]
    together = fitted(name, *data)
    for k in (0, 2):
        stages._kept.clear()
        (alone,) = fitted(name, data[k], seeds=[k])
        assert alone.curves == together[k].curves
        np.testing.assert_allclose(alone.impute(data[k].train), together[k].impute(data[k].train), atol=1e-5)
        np.testing.assert_array_equal(alone.predict(data[k].development), together[k].predict(data[k].development))


def test_smvae_trains_on_what_was_filled_in():
    """After the means: as on rows whose second view is zeros. With whole rows: as without an imputation."""
    data = lacking(0)
    zeroed = tuple(np.split(data.train.numpy(), [5], axis=1))
    written = Inputs(zeroed, np.arange(240), data.train.mean, data.train.scale)
    (imputed,), (plain,) = fitted("MeanImputation", data), fitted("SMVAE", replace(data, train=written))
    assert imputed.learned == plain.learned
    (ignoring,) = fitted("SMVAE", data)
    assert imputed.learned != ignoring.learned
    whole = class_data()
    for name in IMPUTED:
        assert fitted(name, whole)[0].learned == fitted("SMVAE", whole)[0].learned


def test_tasks_side_by_side_keep_their_labels_and_pools():
    data = [lacking(0), replace(lacking(1), pool=np.array([3, 7, 200]))]
    imputes = [lambda inputs: inputs.numpy() + 1, lambda inputs: inputs.numpy() - 1]
    joined = side_by_side(data, imputes)
    assert joined[0].train is joined[1].train
    for given, found, shift in zip(data, joined, (1, -1), strict=True):
        pool = np.arange(240) if given.pool is None else given.pool
        np.testing.assert_array_equal(found.train.numpy(found.labelled), given.train.numpy(given.labelled) + shift)
        np.testing.assert_array_equal(found.train.numpy(found.pool), given.train.numpy(pool) + shift)
        assert found.train.widths == (5, 4)


@pytest.mark.parametrize("name", ["SoftImputeALS", "DCCAE", "CorrNet"])
def test_views_that_share_factors_are_filled_in_better_than_by_means(name):
    data, whole = shared_factors()
    changes = {"imputer_epochs": 60, "imputer_learning_rate": 1e-2, "imputer_latent": 4, "epochs": 1}
    (fit,) = fitted(name, data, **changes)
    missing = ~data.train.present[:, 1]
    truth, found = whole.numpy()[missing, 5:], fit.impute(data.train)[missing, 5:]
    assert np.linalg.norm(found - truth) < 0.6 * np.linalg.norm(truth)


def test_imputations_are_shared_by_label_fractions(monkeypatch):
    counted = []
    train = stages.Stage._train
    monkeypatch.setattr(stages.Stage, "_train", lambda s, n, r, *rest: counted.append(len(r)) or train(s, n, r, *rest))
    data = lacking(0)
    fitted("DCCAE", data)
    fitted("DCCAE", replace(data, labelled=data.labelled[:20], y_labelled=data.y_labelled[:20]), c=0.1)
    assert counted == [1]
    fitted("DCCAE", data, imputer_reconstruction=0.5)
    assert counted == [1, 1]


def test_a_diverged_imputation_is_a_diverged_fit_and_no_other():
    system, data = get_system("CorrNet"), lacking(0)
    given = [resolve_settings(system, "paper", SMALL, {"imputer_learning_rate": rate}) for rate in (1e30, 1e-3)]
    fits = fit_pack(system, [Replicate(data, each, 0) for each in given], device="cpu")
    assert [fit.status for fit in fits] == ["diverged", "complete"]
    assert fits[0].impute is None
    assert np.isnan(fits[0].predict(data.development)).all()


def conet_value(p, rows, c, labelled):
    """F / rows of one replicate, row by row: (views or None each, class or None)."""
    total = 0.0
    for views, y in rows:
        there = [v for v, x in enumerate(views) if x is not None]
        alone = [perceptron(p, f"encoder{v + 1}", "x", views[v]) for v in there]
        for h in (np.mean(alone, axis=0), *alone):
            for v in there:
                total += np.sum((views[v] - perceptron(p, f"decoder{v + 1}", "z", h)) ** 2)
            if y is not None:
                scores = perceptron(p, "classifier", "z", h)[0]
                total -= c * len(rows) / labelled * (scores[y] - np.log(np.exp(scores).sum()))
    return total / 3 / len(rows)


def test_conet_is_its_transcription():
    widths, system = (5, 4), get_system("CoNet")
    facts = Facts(9, ("emotion",), 4, 50, 10, widths, 3)
    network = system.network(resolve_settings(system, "paper", {"hidden": "4-3", "latent": 2}), facts)
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    p = {name: 0.6 * draw(2, *shape) for name, shape in network.layout.shapes.items()}
    batches, rows = {}, ([], [])
    for kind, n in (("labelled", 4), ("unlabelled", 6)):
        present = torch.ones(2, n, 2, dtype=torch.float64)
        present[:, 1, 1], present[0, 2, 0] = 0, 0
        x, y = draw(2, n, 9), torch.randint(3, (2, n, 1), generator=g).double()
        batches[kind] = Batch(x, y if kind == "labelled" else y[..., :0], (), (), present=present)
        for k in range(2):
            for b in range(n):
                views = [x[k, b, None, :5].numpy().copy(), x[k, b, None, 5:].numpy().copy()]
                seen = [view if present[k, b, v] else None for v, view in enumerate(views)]
                rows[k].append((seen, int(y[k, b, 0]) if kind == "labelled" else None))
    scalars = {"c": torch.tensor([0.5, 2.0]).double(), "weight_prior": torch.zeros(2).double()}
    found = network.updates[0].loss(p, batches, scalars)
    for k in range(2):
        own = {name: value[k].numpy() for name, value in p.items()}
        assert found[k].item() == pytest.approx(conet_value(own, rows[k], scalars["c"][k].item(), 4), rel=1e-10)


def test_conet_fills_in_missing_views():
    data, whole = shared_factors()
    system = get_system("CoNet")
    given = resolve_settings(system, "paper", SMALL, {"latent": 4, "learning_rate": 1e-2})
    network = system.network(given, facts_of(data))
    trainer = Trainer(network, [data], [0], [system.scalars(given, data.targets)], 40, "cpu")
    for _ in range(400):
        trainer.step()
    x, present = (torch.from_numpy(values) for values in (data.train.numpy(), data.train.present))
    with torch.no_grad():
        filled = network.impute(trainer.parameters, x, present.float())[0].numpy()
    missing, truth = ~data.train.present[:, 1], whole.numpy()
    np.testing.assert_array_equal(filled[~missing], truth[~missing])
    assert np.linalg.norm((filled - truth)[missing]) < 0.6 * np.linalg.norm(truth[missing, 5:])


def test_conet_tells_classes_apart():
    data = class_data(missing=0.3)
    (fit,) = fitted("CoNet", data, epochs=30, latent=4)
    assert np.mean(fit.predict(data.development) == data.y_development) > 0.6


def refusal(name, data, **changes):
    with pytest.raises(UserError) as refused:
        fitted(name, data, **changes)
    return str(refused.value)


def test_what_cannot_be_filled_in_is_said():
    data = class_data()
    one = replace(data, train=replace(data.train, arrays=data.train.arrays[:1], mean=np.zeros(5), scale=np.ones(5)))
    for name in ("DCCAE", "CorrNet", "CoNet"):
        assert refusal(name, one) == f"{name} relates views to each other, but there is one view only."
    for name in ("MeanImputation", "SoftImputeALS"):
        assert "there is one view only" in refusal(name, one)
    nowhere = class_data(missing=1.0)
    for name in (*IMPUTED, "CoNet"):
        assert refusal(name, nowhere) == f"{name}: no training row has view 2; leave the view out."
    kept = data.y_labelled[:, 0] != 2
    absent = replace(lacking(0), labelled=data.labelled[kept], y_labelled=data.y_labelled[kept])
    for name in (*IMPUTED, "CoNet"):
        assert refusal(name, absent).endswith("labelled rows is of class 2 of emotion.")
    assert "choose imputer_batch_size so that they have at least 100" in refusal("DCCAE", lacking(0), imputer_latent=50)
    assert refusal("DCCAE", lacking(0), imputer_hidden="4-") == (
        "DCCAE: imputer_hidden=4- is not a list of widths such as 100-50."
    )
