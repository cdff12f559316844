"""M2, SDGM and SDGM+ against the transcription of their equations, by finite differences, and as packs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm

from affect.errors import UserError
from affect.systems import get_system
from affect.systems.base import Replicate, fit_pack, resolve_settings
from affect.systems.training import accuracy, facts_of
from tests.systems import transcription
from tests.systems.problems import (
    CLASSES,
    SCALARS,
    disturbed,
    facts,
    gradients_hold,
    network,
    of,
    problem,
    rows_of,
)
from tests.systems.toy import class_data, restored

NAMES = ("M2", "SDGM", "SDGM+", "MVAE", "SMVAE", "SiMVAE", "MoPoE-VAE")
SMALL = {
    "hidden": "12-8",
    "latent": 4,
    "auxiliary": 6,
    "batch_size": 40,
    "batches": 0,
    "epochs": 2,
    "units": "softplus",
}
WIDTHS = (3, 2)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(2))
def test_m2_is_its_exact_enumeration(seed):
    net = network("M2", WIDTHS)
    p, batches, scalars = problem(net, WIDTHS, seed)
    got = net.updates[0].loss(p, batches, scalars)
    for k, c in enumerate(SCALARS["c"]):
        q, rows = of(p, k), rows_of(batches, WIDTHS, k, 1)
        want = transcription.semi_supervised(
            rows, lambda row, y, q=q: transcription.m2(q, row, y), lambda row, q=q: transcription.m2_scores(q, row), c
        )
        assert got[k].item() == pytest.approx(want, rel=1e-10)


def test_the_other_weight_of_the_classification_loss_and_the_prior_of_the_weights():
    p, batches, scalars = problem(network("M2", WIDTHS), WIDTHS)
    loss = {rule: network("M2", WIDTHS, alpha=rule).updates[0].loss for rule in ("ratio", "rows")}
    rows = loss["rows"](p, batches, {**scalars, "c": scalars["c"] / 3})  # three labelled rows
    torch.testing.assert_close(rows, loss["ratio"](p, batches, scalars))
    weighed = loss["ratio"](p, batches, {**scalars, "weight_prior": torch.tensor([0.0, 2.0]).double()})
    squares = sum(value[1].square().sum() for value in p.values())
    want = loss["ratio"](p, batches, scalars) + torch.stack((squares * 0, squares / 50))  # 50 rows of the pool
    torch.testing.assert_close(weighed, want)


@pytest.mark.parametrize(("name", "missing"), [("SDGM", ()), ("SDGM+", ()), ("SDGM+", (1,))])
def test_auxiliary_models_are_the_transcription(name, missing):
    net = network(name, WIDTHS, auxiliary=2)
    p, batches, scalars = problem(net, WIDTHS, 1, missing)
    got = net.updates[0].loss(p, batches, scalars)
    for k, c in enumerate(SCALARS["c"]):
        q, rows = of(p, k), rows_of(batches, WIDTHS, k, 1)
        entropies = surprise = 0.0
        for row in rows:
            row["seen"] = row["x"][0] if name == "SDGM+" else np.concatenate(row["x"])
            inference = "imputer2" if name == "SDGM+" else "auxiliary"
            mean, std = transcription.gaussian(transcription.net(q, inference, x=row["seen"]))
            row["a"] = mean + std * row["noise"][0]
            entropies += norm.entropy(mean, std).sum()
            if name == "SDGM+" and row["has"][1]:
                surprise -= norm.logpdf(row["x"][1], mean, std).sum()
        want = transcription.semi_supervised(
            rows,
            lambda row, y, q=q: transcription.sdgm(q, row, y),
            lambda row, q=q: transcription.sdgm_scores(q, row),
            c,
        )
        want += (SCALARS["alpha3"][k] * surprise - entropies) / len(rows)
        assert got[k].item() == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_finite_differences(name):
    missing = (1,) if name not in ("M2", "SDGM") else ()
    assert gradients_hold(network(name, WIDTHS, auxiliary=2), WIDTHS, missing)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("M2", "SDGM")])
def test_what_stands_in_for_a_missing_view_influences_nothing(name):
    widths = (2, 3, 2)
    settings = {} if name == "SDGM+" else {"incomplete": "all"}
    net = network(name, widths, **settings)
    p, batches, scalars = problem(net, widths, 2, (2,) if name == "SDGM+" else (0, 1, 2))
    p = {key: value.requires_grad_() for key, value in p.items()}
    found = []
    for each in (batches, disturbed(batches, widths)):
        loss = net.updates[0].loss(p, each, scalars)
        found.append([loss, *torch.autograd.grad(loss.sum(), list(p.values()), materialize_grads=True)])
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert all(torch.isfinite(value).all() for value in found[0])


@pytest.mark.parametrize("name", ["SDGM+", "SiMVAE"])
def test_imputation_fills_in_the_conditional_mean_and_nothing_else(name):
    net = network(name, WIDTHS)
    p, _, _ = problem(net, WIDTHS)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 5, generator=g, dtype=torch.float64)
    present = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 1], [1, 1]])
    filled = net.impute(p, x, present)
    for k in range(2):
        for row in range(5):
            want = x[row].numpy().copy()
            if not present[row, 1]:
                want[3:] = transcription.gaussian(transcription.net(of(p, k), "imputer2", x=want[:3]))[0]
            np.testing.assert_allclose(filled[k, row], want, rtol=1e-12)


def _fit(name, members, present=0.0, **settings):
    system = get_system(name)
    replicates = [
        Replicate(class_data(seed, missing=present), resolve_settings(system, "paper", SMALL, settings, own), seed)
        for seed, own in members
    ]
    fits = fit_pack(system, replicates, device="cpu")
    return [fit.predict(r.data.development) for fit, r in zip(fits, replicates, strict=True)], fits


def _all(predictions, fits):
    """What there is to compare: predictions, curves and, by way of what was learned, everything that led to them."""
    return [(p.tolist(), fit.curves, fit.learned) for p, fit in zip(predictions, fits, strict=True)]


def _assert_equal(found, expected):
    """To rounding: where a replicate lies in the stack decides which of its numbers fill a vector unit."""
    for mine, theirs in zip(found, expected, strict=True):
        for numbers, others in zip(mine, theirs, strict=True):
            assert [row[:-1] for row in numbers] == [row[:-1] for row in others]
            assert [row[-1] for row in numbers] == pytest.approx([row[-1] for row in others], rel=1e-5)


@pytest.mark.parametrize("name", ["SDGM+", "SiMVAE", "SMVAE"])
def test_a_fit_fills_in_what_its_inputs_lack(name):
    """The mean of q(x_m | x_o) is nearer to a view that was hidden than its training mean is; what is there stays."""
    settings = {"epochs": 40, "learning_rate": 3e-3, "hidden": "20-15"}
    _, (fit,) = _fit(name, [(0, {})], 0.4, **settings)
    if name == "SMVAE":
        assert fit.impute is None
        return
    train = class_data(0, missing=0.4).train
    lacking = train.present[:, -1] == 0
    whole, filled = replace(train, present=None), fit.impute(train)
    np.testing.assert_array_equal(filled[~lacking], whole.numpy()[~lacking])
    np.testing.assert_array_equal(filled[:, :5], whole.numpy()[:, :5])
    truth = whole.numpy()[lacking, 5:]
    assert np.linalg.norm(truth - filled[lacking, 5:]) < 0.95 * np.linalg.norm(truth)
    np.testing.assert_array_equal(fit.impute(whole), whole.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_a_result_does_not_depend_on_what_shares_the_pack(name):
    scale = "c2" if name == "SiMVAE" else "c"
    members = [(k, {scale: 0.1 * (k + 1), "learning_rate": 1e-3 * (k + 1)}) for k in range(8)]
    present = 0.0 if name in ("M2", "SDGM") else 0.4
    together = _all(*_fit(name, members, present))
    order = [3, 0, 6, 1, 7, 2, 5, 4]
    _assert_equal(_all(*_fit(name, [members[i] for i in order], present)), [together[i] for i in order])
    _assert_equal(_all(*_fit(name, members[:3], present)), together[:3])
    _assert_equal(_all(*_fit(name, members[:1], present)), together[:1])


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_pack_goes_on_as_if_nothing_had_been(name):
    """With missing views, one replicate stopped and one that diverges."""
    system = get_system(name)
    replicates = [
        Replicate(class_data(k, missing=0.4), resolve_settings(system, "paper", SMALL, {"epochs": 4}, own), k)
        for k, own in enumerate(({}, {}, {"learning_rate": 1e30}, {"learning_rate": 3e-3}))
    ]
    fitting = system.begin(replicates, device="cpu")
    fitting.advance()
    fitting.stop([1])
    fitting.advance()
    again = restored(system, replicates, fitting)
    torch.testing.assert_close(again.trainer.flat, fitting.trainer.flat, rtol=0, atol=0)
    got, wanted = again.fits(), fitting.fits()
    assert [fit.status for fit in got] == ["complete", "stopped", "diverged", "complete"]
    assert [fit.impute is None for fit in got] == [name not in ("SiMVAE", "SDGM+"), True, True, got[0].impute is None]
    assert [(fit.curves, fit.learned, fit.epochs) for fit in got] == [
        (fit.curves, fit.learned, fit.epochs) for fit in wanted
    ]
    alone = fit_pack(system, replicates[3:], device="cpu")[0]
    inputs = replicates[3].data.development
    np.testing.assert_array_equal(got[3].predict(inputs), alone.predict(inputs))


@pytest.mark.parametrize("preset", ["paper", "author_code"])
@pytest.mark.parametrize("name", NAMES)
def test_constant_and_repeated_columns_are_harmless(name, preset):
    """A column without variance is zero when normalised, and its density is bounded with its log-variance."""
    data = class_data(0, missing=0.3)
    first, second = data.train.arrays
    arrays = (np.concatenate([np.zeros_like(first), first, first], 1), np.concatenate([second, 0 * second], 1))
    scale = np.ones(sum(a.shape[1] for a in arrays))
    train, development = (
        replace(inputs, arrays=arrays, mean=0 * scale, scale=scale) for inputs in (data.train, data.development)
    )
    data = replace(data, train=train, development=development)
    system = get_system(name)
    settings = resolve_settings(system, preset, SMALL, {"learning_rate": 0.02, "epochs": 10})
    fitting = system.begin([Replicate(data, settings, 0)], device="cpu")
    while fitting.epoch < fitting.epochs:
        fitting.advance()
    (loss,) = fitting.trainer.step()
    assert fitting.fits()[0].status == "complete"
    assert loss.item() > -5 * len(scale)
    # MVAE's classifier sees nothing but z, others nothing but latents, of which so few steps have made little.
    if name != "MVAE" and "inputs" not in settings:
        assert (fitting.fits()[0].predict(development) == data.y_development).mean() > 0.5  # chance: 0.33


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_from_two_views_and_few_labels(name):
    present = 0.4 if name in ("SiMVAE", "SDGM+") else 0.0
    settings = {"epochs": 30, "learning_rate": 3e-3, "hidden": "20-15"}
    (prediction,), (fit,) = _fit(name, [(0, {})], present, **settings)
    truth = class_data(0).y_development
    assert fit.status == "complete"
    assert (prediction == truth).mean() > 0.75  # chance: 0.33
    assert len(fit.curves) == 30


@pytest.mark.parametrize("name", NAMES)
def test_every_scalar_setting_acts_on_its_own_replicate(name):
    system = get_system(name)
    scalars = [n for n, hp in system.hyperparameters.items() if not hp.structural]
    replicates = [
        Replicate(class_data(0, missing=0.3), resolve_settings(system, "paper", SMALL, own), 0)
        for own in ({}, *({n: 0.017} for n in scalars))
    ]
    fitting = system.begin(replicates, device="cpu")
    fitting.advance()
    first, *others = fitting.trainer.flat
    for scalar, other in zip(scalars, others, strict=True):
        assert not torch.equal(first, other), scalar


def test_equal_seeds_start_networks_of_equal_shape_alike():
    """Comparisons are paired: M2's classifier of all views is SMVAE's, SMVAE's encoders are SiMVAE's."""
    systems = ("M2", "SMVAE", "MoPoE-VAE", "SiMVAE")
    starts = [_by_network(network(name, WIDTHS).initial(5)) for name in systems]
    common = []
    for one, other in pairwise(starts):
        shared = [n for n in one.keys() & other.keys() if _shapes(one[n]) == _shapes(other[n])]
        common.append(set(shared))
        for name in shared:
            for key in one[name]:
                torch.testing.assert_close(one[name][key], other[name][key], rtol=0, atol=0)
    encoders = {"encoder1", "encoder2"}
    assert common == [
        {"classifier"},
        {"classifier", "decoder1", "decoder2"} | encoders,
        {"classifier", "decoder2"} | encoders,  # SiMVAE's first view is generated from the second as well
    ]
    assert not torch.equal(starts[1]["encoder1"]["encoder1.w2"], starts[1]["encoder2"]["encoder2.w2"])


def _by_network(parameters):
    """Network → its parameters."""
    named = {key.split(".")[0]: {} for key in parameters}
    for key, value in parameters.items():
        named[key.split(".")[0]][key] = value
    return named


def _shapes(parameters):
    return {key: value.shape for key, value in parameters.items()}


def test_scores_are_those_of_the_classifier():
    net = network("M2", WIDTHS)
    p, _, _ = problem(net, WIDTHS)
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores = net.predict(net.freeze(p, x), x)
    assert scores.shape == (2, 4, CLASSES)
    for k in range(2):
        wanted = np.stack([transcription.net(of(p, k), "classifier", x=row.numpy()) for row in x])
        np.testing.assert_allclose(scores[k], wanted, rtol=1e-12)
        # Told right where the transcription's highest score is the class: in three rows of four.
        truth = torch.from_numpy(wanted.argmax(1))
        truth[k] = (truth[k] + 1) % CLASSES
        found = accuracy(scores, truth[None, :, None].expand(2, -1, -1))
        assert found[k, 0] == 0.75


@pytest.mark.parametrize(("pool", "batches"), [(1000, 10), (13470, 10), (31, 10)])
def test_a_pass_of_the_authors_code_is_ten_batches(pool, batches):
    system = get_system("SMVAE")
    settings = resolve_settings(system, "author_code", {"epochs": 7})
    assert system.steps(settings, replace(facts((3, 2)), n_pool=pool)) == 7 * batches


def test_a_fit_has_the_steps_that_were_planned():
    system, data = get_system("SMVAE"), class_data(0)
    settings = resolve_settings(system, "paper", SMALL, {"batch_size": 100, "batches": 8, "epochs": 1})
    fitting = system.begin([Replicate(data, settings, 0)], device="cpu")
    assert fitting.steps == system.steps(settings, facts_of(data)) == 8
    assert fitting.trainer.sources["unlabelled"].next().x.shape[1] == len(data.train) / 8
    with pytest.raises(
        UserError, match=r"^SMVAE: batches=8 leaves batch_size=40 without meaning; with batches=0 it has"
    ):
        resolve_settings(system, "paper", {"batches": 8, "batch_size": 40})
