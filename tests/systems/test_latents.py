"""Autoencoders of single views, trained beforehand: against the transcription, and frozen where they are used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from affect.errors import UserError
from affect.systems import get_system, stages
from affect.systems.base import Replicate, fit_pack, resolve_settings
from affect.systems.latents import AUTOENCODERS, SETTINGS, autoencoders, own_settings
from tests.systems import transcription
from tests.systems.problems import facts, network, of, problem
from tests.systems.toy import class_data, restored

NAMES = ("M2", "SDGM", "MVAE", "SMVAE", "MoPoE-VAE")
WIDTHS = (3, 2)
OWN = {"inputs_latent": 4, "inputs_hidden": "5"}
SMALL = {
    **{"hidden": "12-8", "latent": 4, "auxiliary": 6, "batch_size": 40, "epochs": 3, "units": "softplus"},
    **{"inputs": "latents", "inputs_latent": 6, "inputs_epochs": 4, "inputs_hidden": "8"},
}


@pytest.fixture(autouse=True)
def nothing_kept():
    """No autoencoder of another test, or of another pack."""
    stages._kept.clear()


def replicates_of(name, members, missing=0.0, **settings):
    system = get_system(name)
    return [
        Replicate(class_data(seed, missing=missing), resolve_settings(system, "paper", SMALL, settings, own), seed)
        for seed, own in members
    ]


def fitted(name, members, missing=0.0, **settings):
    """A pack of (seed, own settings) at its end."""
    system, replicates = get_system(name), replicates_of(name, members, missing, **settings)
    fitting = system.begin(replicates, device="cpu")
    began = fitting.trainer.flat.clone()
    while fitting.epoch < fitting.epochs:
        fitting.advance()
    return fitting, began, replicates


def test_their_loss_is_the_negative_bound_of_every_view():
    net = autoencoders(own_settings(resolve_settings(get_system("M2"), "author_code", OWN)), facts(WIDTHS))
    p, batches, scalars = problem(net, WIDTHS)
    got = net.updates[0].loss(p, batches, scalars)
    batch = batches["unlabelled"]
    for k in range(2):
        q, total = of(p, k), 0.0
        for b in range(batch.x.shape[1]):
            for v, x in enumerate(batch.x[k, b].split(WIDTHS)):
                mean, std = moments = transcription.gaussian(transcription.net(q, f"inputs{v + 1}", x=x.numpy()))
                h = mean + std * batch.normal[v][k, b].numpy()
                found = transcription.gaussian(transcription.net(q, f"outputs{v + 1}", h=h))
                total -= transcription.density(x.numpy(), found)
                total -= transcription.prior(moments) + norm.entropy(mean, std).sum()
        assert got[k].item() == pytest.approx(total / batch.x.shape[1], rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_sees_draws_of_what_they_make_of_the_views(name):
    """Its loss is that of the same network on drawn latents, and its prediction that on their means."""
    net = network(name, WIDTHS, inputs="latents", auxiliary=2, **OWN)
    inner = network(name, (4, 4), auxiliary=2)
    p, batches, scalars = problem(net, WIDTHS, 4)
    mine = {key: value for key, value in p.items() if key in inner.layout.shapes}

    def moments(x, k):
        views = [transcription.net(of(p, k), f"inputs{v + 1}", x=each) for v, each in enumerate(np.split(x, [3]))]
        return [np.concatenate(both) for both in zip(*map(transcription.gaussian, views), strict=True)]

    drawn = {}
    for kind, batch in batches.items():
        noise = torch.cat(batch.normal[:2], -1).numpy()
        h = [
            [mean + std * e for row, e in zip(rows.numpy(), each, strict=True) for mean, std in [moments(row, k)]]
            for k, (rows, each) in enumerate(zip(batch.x, noise, strict=True))
        ]
        drawn[kind] = replace(batch, x=torch.tensor(np.array(h)), normal=batch.normal[2:])
    torch.testing.assert_close(net.updates[0].loss(p, batches, scalars), inner.updates[0].loss(mine, drawn, scalars))
    x = batches["labelled"].x[0]
    for k in range(2):
        means = torch.tensor(np.array([moments(row, k)[0] for row in x.numpy()]))
        torch.testing.assert_close(net.predict(p, x)[k], inner.predict(mine, means)[k])


def test_they_are_trained_for_each_seed_and_then_frozen():
    fitting, began, replicates = fitted("SMVAE", [(0, {}), (1, {}), (0, {"c": 2.0})])
    encoders = [name for name in fitting.trainer.parameters if name.startswith("inputs")]
    before, after = (fitting.trainer.network.layout.unpack(flat) for flat in (began, fitting.trainer.flat))
    own = [replace(replicate, settings=own_settings(replicate.settings)) for replicate in replicates]
    stages._kept.clear()
    learned = [AUTOENCODERS.learn("SMVAE", [each], "cpu")[0] for each in own]
    untrained = fitting.trainer.network.initial(0)
    for name in encoders:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)
        torch.testing.assert_close(after[name], torch.cat([each[name] for each in learned]))
        assert torch.equal(after[name][0], after[name][2])
        assert not torch.equal(after[name][0], after[name][1])
        assert not torch.equal(after[name][0], untrained[name])
    assert not torch.equal(before["classifier.b1"], after["classifier.b1"])


@pytest.mark.parametrize("name", NAMES)
def test_a_result_does_not_depend_on_what_shares_the_pack(name):
    members = [(k, {"c": 0.1 * (k + 1)}) for k in range(4)]
    missing = 0.0 if name in ("M2", "SDGM") else 0.4

    def results(chosen):
        stages._kept.clear()
        fitting, _, replicates = fitted(name, chosen, missing)
        inputs = [replicate.data.development for replicate in replicates]
        return [(fit.predict(x).tolist(), fit.curves) for fit, x in zip(fitting.fits(), inputs, strict=True)]

    together = results(members)
    assert results([members[2], members[0]]) == [together[2], together[0]]
    assert results(members[3:]) == together[3:]


def test_it_learns_from_latents():
    system, data = get_system("SMVAE"), class_data(0)
    own = {"inputs_epochs": 300, "inputs_learning_rate": 3e-3, "inputs_hidden": "20"}
    settings = resolve_settings(system, "paper", SMALL, own, {"epochs": 40, "learning_rate": 3e-3})
    (fit,) = fit_pack(system, [Replicate(data, settings, 0)], device="cpu")
    assert (fit.predict(data.development) == data.y_development).mean() > 0.6  # chance: 0.33


def test_autoencoders_that_diverge_end_the_fit():
    fitting, _, _ = fitted("SMVAE", [(0, {})], inputs_learning_rate=1e30)
    assert [fit.status for fit in fitting.fits()] == ["diverged"]


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_they_see_the_unlabelled_rows_of_the_fit_and_no_others(share, monkeypatch):
    seen = []
    monkeypatch.setattr(
        stages.Stage, "_train", lambda self, system, replicates, rows, device: seen.extend(rows) or [None] * len(rows)
    )
    monkeypatch.setattr(stages, "_finite", lambda parameters: False)
    (replicate,) = replicates_of("SMVAE", [(0, {})], unlabelled_fraction=share)
    fitting = get_system("SMVAE").begin([replicate], device="cpu")
    np.testing.assert_array_equal(np.sort(seen[0]), np.sort(fitting.trainer.sources["unlabelled"].positions[0]))
    assert len(seen[0]) == round(240 * share)


def test_a_restored_pack_goes_on_as_if_nothing_had_been():
    system, replicates = get_system("SMVAE"), replicates_of("SMVAE", [(0, {}), (1, {})], 0.4)
    fitting = system.begin(replicates, device="cpu")
    fitting.advance()
    again = restored(system, replicates, fitting)
    torch.testing.assert_close(again.trainer.flat, fitting.trainer.flat, rtol=0, atol=0)


@pytest.mark.parametrize("hidden", ["abc", "20-", "0"])
def test_hidden_layers_that_are_none(hidden):
    with pytest.raises(UserError, match=f"SMVAE: inputs_hidden={hidden}"):
        resolve_settings(get_system("SMVAE"), "author_code", {"inputs_hidden": hidden})


def test_settings_say_what_decides_a_result_and_nothing_else():
    """With features they are those from before there were latents; with latents they have all of them."""
    assert not set(resolve_settings(get_system("SMVAE"), "paper", {"inputs_latent": 50})) & set(SETTINGS)
    assert set(resolve_settings(get_system("SMVAE"), "author_code")) >= set(SETTINGS)
    assert "inputs" not in resolve_settings(get_system("MeanImputation"), "author_code")
