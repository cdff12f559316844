"""Packs: a trial's result never depends on what shares its pack, and each setting acts on its own replicate."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from affect.systems import get_system
from affect.systems.base import Replicate, fit_pack, resolve_settings
from affect.systems.stack import Adam, Layout, NAdam
from affect.systems.training import Trainer, batch_order, concordance, concordance_loss, facts_of
from tests.systems.toy import TARGETS, toy_data

NAMES = ("STL", "MTL", "Lad+L+STL", "Lad+L+MTL", "Lad+UL+STL", "Lad+UL+MTL")
SMALL = {"epochs": 3, "batch_size": 32, "width": 16, "learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _fit(name, members, **settings):
    """Fit one pack of (seed, own settings) members; development predictions and fits."""
    system = get_system(name)
    replicates = [
        Replicate(toy_data(seed, pool=40), resolve_settings(system, "paper", SMALL, settings, own), seed)
        for seed, own in members
    ]
    fits = fit_pack(system, replicates, device="cpu")
    return [fit.predict(r.data.development) for fit, r in zip(fits, replicates, strict=True)], fits


def _members(name, n):
    if name.endswith("STL"):
        return [(k, {"target": TARGETS[k % 3], "learning_rate": 1e-3 * (k + 1)}) for k in range(n)]
    return [(k, {"alpha": 0.1 * (k % 4), "beta": 0.3, "learning_rate": 1e-3 * (k + 1)}) for k in range(n)]


@pytest.mark.parametrize("name", NAMES)
def test_a_result_does_not_depend_on_what_shares_the_pack(name):
    members = _members(name, 8)
    together, _ = _fit(name, members)
    order = [3, 0, 6, 1, 7, 2, 5, 4]
    shuffled, _ = _fit(name, [members[i] for i in order])
    three, _ = _fit(name, members[:3])
    alone = [_fit(name, [member])[0][0] for member in members[:3]]
    for position, i in enumerate(order):
        np.testing.assert_array_equal(shuffled[position], together[i])
    for i in range(3):
        np.testing.assert_array_equal(three[i], together[i])
        np.testing.assert_array_equal(alone[i], together[i])


@pytest.mark.parametrize("name", ["MTL", "Lad+L+MTL", "Lad+UL+MTL"])
def test_rows_and_units_of_ones_own_stay_ones_own(name):
    """As in transductive tasks, whose pool holds the labelled rows, and where rows lack views: units are each seed's."""
    system = get_system(name)
    replicates = []
    for seed in range(3):
        data = toy_data(seed, pool=40)
        pool = np.sort(np.concatenate([data.labelled, np.arange(data.n_train, data.n_train + 40)]))
        units = {"mean": np.full(6, 0.1 * seed), "scale": np.full(6, 1 + 0.2 * seed)}
        train, development = (replace(each, **units) for each in (data.train, data.development))
        data = replace(data, train=train, development=development, pool=pool)
        replicates.append(Replicate(data, resolve_settings(system, "paper", SMALL), seed))
    together = fit_pack(system, replicates, device="cpu")
    for fit, replicate in zip(together, replicates, strict=True):
        (alone,) = fit_pack(system, [replicate], device="cpu")
        assert alone.curves == fit.curves
        rows = replicate.data.development
        np.testing.assert_array_equal(alone.predict(rows), fit.predict(rows))


@pytest.mark.parametrize("name", NAMES)
def test_every_scalar_setting_acts_on_its_own_replicate(name):
    system = get_system(name)
    base = _members(name, 1)[0][1]
    scalars = [n for n, hp in system.hyperparameters.items() if not hp.structural and isinstance(hp.default, float)]
    members = [(0, base)] + [(0, base | {n: {"alpha": 0.25, "beta": 0.2}.get(n, 0.017)}) for n in scalars]
    predictions, _ = _fit(name, members)
    for scalar, other in zip(scalars, predictions[1:], strict=True):
        assert not np.array_equal(predictions[0], other, equal_nan=True), scalar


def test_single_task_is_the_corner_of_multitask():
    single, _ = _fit("STL", [(4, {"target": "valence"})])
    multi, _ = _fit("MTL", [(4, {"alpha": 0.0, "beta": 1.0})])
    np.testing.assert_array_equal(single[0][:, 1], multi[0][:, 1])
    assert np.isnan(single[0][:, [0, 2]]).all()


def test_a_replicate_that_diverges_harms_no_other():
    calm = [(0, {}), (1, {})]
    wild = (2, {"learning_rate": 1e30})
    want, _ = _fit("Lad+UL+MTL", calm)
    got, fits = _fit("Lad+UL+MTL", [calm[0], wild, calm[1]])
    assert [fit.status for fit in fits] == ["complete", "diverged", "complete"]
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[2], want[1])
    assert np.isnan(got[1]).all()


def test_predictions_too_large_for_a_score_are_a_divergence():
    system, data = get_system("Lad+L+MTL"), toy_data(0)
    fitting = system.begin([Replicate(data, resolve_settings(system, "paper", SMALL), 0)], device="cpu")
    fitting.epoch = 1
    fitting._look(torch.full((1, len(data.development), 3), 3e38))
    (fit,) = fitting.fits()
    assert fit.status == "diverged"
    assert fit.curves == ()
    assert np.isnan(fit.predict(data.development)).all()


@pytest.mark.parametrize("name", ["MTL", "Lad+UL+MTL"])
def test_stopping_some_leaves_the_others_as_they_were(name):
    system, members = get_system(name), _members(name, 4)
    replicates = [
        Replicate(toy_data(seed, pool=40), resolve_settings(system, "paper", SMALL, own), seed) for seed, own in members
    ]
    whole = fit_pack(system, replicates, device="cpu")
    fitting = system.begin(replicates, device="cpu")
    fitting.advance()
    first = fitting.best()
    fitting.stop([1])
    fitting.advance()
    fitting.stop([1, 3])
    fitting.advance()
    fits = fitting.fits()
    assert [fit.status for fit in fits] == ["complete", "stopped", "complete", "stopped"]
    assert [max(epoch for epoch, *_ in fit.curves) for fit in fits] == [3, 1, 3, 2]
    np.testing.assert_array_equal(fitting.best()[1], first[1])
    for k in (0, 2):
        data = replicates[k].data
        assert fits[k].curves == whole[k].curves
        np.testing.assert_array_equal(fits[k].predict(data.development), whole[k].predict(data.development))
    for k in (1, 3):
        assert fits[k].curves == whole[k].curves[: len(fits[k].curves)]
        assert np.isnan(fits[k].predict(replicates[k].data.development)).all()


@pytest.mark.parametrize("name", ["MTL", "Lad+UL+MTL"])
def test_a_restored_pack_goes_on_as_if_nothing_had_been(name):
    system = get_system(name)
    members = [*_members(name, 3), (3, {"learning_rate": 1e30})]
    replicates = [
        Replicate(toy_data(seed, pool=40), resolve_settings(system, "paper", SMALL, {"epochs": 5}, own), seed)
        for seed, own in members
    ]
    fitting = system.begin(replicates, device="cpu")
    fitting.advance()
    fitting.stop([1])
    fitting.advance()
    saved = io.BytesIO()
    torch.save(fitting.state(), saved)
    again = system.begin(replicates, device="cpu")
    again.restore(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    assert again.epoch == 2
    np.testing.assert_array_equal(again.best(), fitting.best())
    for each in (fitting, again):
        while each.epoch < each.epochs:
            each.advance()
    torch.testing.assert_close(again.trainer.flat, fitting.trainer.flat, rtol=0, atol=0)
    wanted, got = fitting.fits(), again.fits()
    assert [fit.status for fit in got] == ["complete", "stopped", "complete", "diverged"]
    for want, fit, replicate in zip(wanted, got, replicates, strict=True):
        assert (fit.status, fit.curves, fit.epochs) == (want.status, want.curves, want.epochs)
        inputs = replicate.data.development
        np.testing.assert_array_equal(fit.predict(inputs), want.predict(inputs))


def test_a_restored_pack_of_which_all_are_stopped_is_over():
    system = get_system("MTL")
    replicate = Replicate(toy_data(0, pool=40), resolve_settings(system, "paper", SMALL), 0)
    fitting, again = (system.begin([replicate], device="cpu") for _ in range(2))
    fitting.advance()
    fitting.stop([0])
    again.restore(fitting.state())
    assert again.epoch == again.epochs
    assert again.fits()[0].curves == fitting.fits()[0].curves


def test_a_pack_of_which_all_are_stopped_is_over():
    system = get_system("MTL")
    replicate = Replicate(toy_data(0, pool=40), resolve_settings(system, "paper", SMALL), 0)
    fitting = system.begin([replicate], device="cpu")
    fitting.advance()
    fitting.stop([0])
    assert fitting.epoch == fitting.epochs
    assert [fit.status for fit in fitting.fits()] == ["stopped"]


def test_the_kept_epoch_is_the_best_on_development_per_target():
    predictions, (fit,) = _fit("MTL", [(0, {})], epochs=8)
    data = toy_data(0, pool=40)
    for t, target in enumerate(TARGETS):
        curve = {epoch: value for epoch, _, name, value in fit.curves if name == target}
        assert len(curve) == 8
        assert fit.epochs[target] == max(curve, key=curve.get)
        kept = concordance(torch.from_numpy(predictions[0]), torch.from_numpy(data.y_development))[t].item()
        assert kept == pytest.approx(max(curve.values()), abs=1e-5)


def test_systems_with_one_seed_share_batches_noise_and_weights():
    trainers = {}
    for name in ("MTL", "Lad+L+MTL", "Lad+UL+MTL"):
        system = get_system(name)
        settings = resolve_settings(system, "paper", SMALL)
        data = toy_data(5, pool=40)
        network = system.network(settings, facts_of(data))
        trainers[name] = Trainer(network, [data], [5], [system.scalars(settings, TARGETS)], 32, "cpu")
    batches = {name: trainer.sources["labelled"].next() for name, trainer in trainers.items()}
    first = batches["Lad+L+MTL"]
    torch.testing.assert_close(batches["MTL"].x, first.x, rtol=0, atol=0)
    torch.testing.assert_close(batches["Lad+UL+MTL"].normal[1], first.normal[1], rtol=0, atol=0)
    for name, gain in (("w1", 3**0.5), ("w2", 3**0.5), ("head", 1.0)):
        torch.testing.assert_close(
            trainers["MTL"].parameters[name] * gain, trainers["Lad+L+MTL"].parameters[name], rtol=1e-5, atol=0
        )


def test_noise_has_the_declared_distribution_and_streams_differ():
    system = get_system("Lad+UL+MTL")
    settings = resolve_settings(system, "paper", {"batch_size": 64, "width": 64})
    data = [toy_data(s, n=640, labelled=640) for s in (0, 1)]
    network = system.network(settings, facts_of(data[0]))
    trainer = Trainer(network, data, [0, 1], [system.scalars(settings, TARGETS)] * 2, 64, "cpu")
    batch = trainer.sources["unlabelled"].next()
    draws = (
        torch.stack([n.mean((1, 2)) for n in batch.normal[1:]]),
        torch.stack([n.var((1, 2)) for n in batch.normal[1:]]),
    )
    assert draws[0].abs().max() < 5 / (64 * 64) ** 0.5
    assert (draws[1] - 1).abs().max() < 0.12
    assert not torch.equal(batch.normal[1][0], batch.normal[1][1])
    assert not torch.equal(trainer.sources["labelled"].next().normal[1], batch.normal[1])
    assert batch.uniform[0].min() >= 0
    assert batch.uniform[0].max() < 1


def test_an_epoch_visits_every_row_once_in_batches_of_equal_size():
    order = batch_order(745, 256, np.random.default_rng(0))
    epoch = [next(order) for _ in range(3)]
    assert sorted(map(len, epoch)) == [248, 248, 249]
    assert sorted(np.concatenate(epoch)) == list(range(745))


@pytest.mark.parametrize(("ours", "theirs"), [(NAdam, torch.optim.NAdam), (Adam, torch.optim.Adam)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "operations"])
def test_optimisers_equal_torch_with_a_rate_per_replicate_and_parameters_that_have_no_gradient(ours, theirs, dtype):
    g = torch.Generator().manual_seed(0)
    shapes, rates = {"a": (30, 40), "b": (7,), "c": (2, 3)}, (1e-2, 1e-3, 1e-4)
    layout = Layout(shapes)
    start = [{n: torch.randn(*s, generator=g, dtype=dtype) for n, s in shapes.items()} for _ in rates]
    flat = layout.pack(start)
    optimiser = ours(flat, rates)
    parameters = [[p[n].clone().requires_grad_() for n in shapes] for p in start]
    references = [theirs(p, lr) for p, lr in zip(parameters, rates, strict=True)]
    for step in range(60):
        gradients = [torch.randn(3, *s, generator=g, dtype=dtype) for s in shapes.values()]
        there = [True, step % 2 == 0, step % 3 == 0]
        optimiser.update({s: d for s, d, here in zip(layout.starts, gradients, there, strict=True) if here})
        for k, (pieces, reference) in enumerate(zip(parameters, references, strict=True)):
            for p, gradient, here in zip(pieces, gradients, there, strict=True):
                p.grad = gradient[k].clone() if here else None
            reference.step()
    for k, pieces in enumerate(parameters):
        for view, p in zip(layout.unpack(flat).values(), pieces, strict=True):
            torch.testing.assert_close(view[k], p.detach(), rtol=1e-4, atol=1e-6)


def test_updates_in_turn_are_those_of_a_plain_loop():
    """Labelled and unlabelled updates of the ladder, against torch's optimiser over tensors of their own: the head has no
    gradient in unlabelled updates, and stays where it is."""
    system, data = get_system("Lad+UL+MTL"), toy_data(0, pool=40)
    settings = resolve_settings(system, "paper", {"batch_size": 32, "learning_rate": 1e-2})
    network, scalars = system.network(settings, facts_of(data)), system.scalars(settings, TARGETS)
    stacked, drawing = (Trainer(network, [data], [0], [scalars], 32, "cpu") for _ in range(2))
    parameters = {name: value.detach().clone().requires_grad_() for name, value in drawing.parameters.items()}
    optimiser = torch.optim.NAdam(parameters.values(), lr=1e-2)
    for _ in range(10):
        stacked.step()
        for update in network.updates:
            head = parameters["head"].detach().clone()
            optimiser.zero_grad()
            update.loss(
                parameters, {kind: drawing.sources[kind].next() for kind in update.reads}, drawing.scalars
            ).backward()
            optimiser.step()
            assert torch.equal(head, parameters["head"]) == (update.name == "unlabelled")
    for name, value in stacked.parameters.items():
        torch.testing.assert_close(value, parameters[name], rtol=1e-3, atol=1e-5, msg=name)


def test_concordance_loss_weights_each_target():
    g = torch.Generator().manual_seed(0)
    prediction, truth = torch.randn(2, 50, 3, generator=g), torch.randn(2, 50, 3, generator=g)
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    values = concordance(prediction, truth)
    want = (weights * (1 - values)).sum(1)
    torch.testing.assert_close(concordance_loss(prediction, truth, weights), want)
    assert concordance(truth, truth).min() > 0.9999
