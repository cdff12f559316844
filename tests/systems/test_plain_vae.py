"""What SMVAE and M2 are timed against trains the same thing: with the same weights, without noise, the losses are equal."""

from __future__ import annotations

import pytest
import torch

from affect.systems.training import Batch
from tests.bench.plain_vae import PlainM2, PlainSMVAE, vae_loss
from tests.systems.problems import CLASSES, LATENT, network, problem

WIDTHS, HIDDEN = (5, 4), (4, 3)


def _weights(model, p):
    """The parameters of replicate 0 as those of the plain model."""
    nets = {"classifier": model.classifier}
    if isinstance(model, PlainM2):
        nets |= {"encoder1": model.encoder, "decoder1": model.decoder}
    else:
        nets |= {f"encoder{v + 1}": net for v, net in enumerate(model.encoders)}
        nets |= {f"decoder{v + 1}": net for v, net in enumerate(model.decoders)}
        model.weights.data = p["weights"][0]
    for name, net in nets.items():
        for layer, linear in enumerate(net[::2], 1):
            first = torch.cat([p[key][0] for part in ("x", "z", "y") if (key := f"{name}.{part}") in p])
            linear.weight.data = (first if layer == 1 else p[f"{name}.w{layer}"][0]).T
            linear.bias.data = p[f"{name}.b{layer}"][0, 0]


def test_pyros_m2_has_the_same_loss_on_average():
    """Its terms are those of one sample of z where ours are expectations, so the means of many draws are compared."""
    from tests.bench.pyro_m2 import PyroM2, pyro_loss

    torch.manual_seed(0)
    model = PyroM2(sum(WIDTHS), HIDDEN, LATENT, CLASSES).double()
    x, pool, y = torch.randn(6, 9).double(), torch.randn(8, 9).double(), torch.randint(CLASSES, (6,))
    theirs, ours = (
        torch.stack([loss(model, x, y, pool, 0.5).detach() for _ in range(draws)])
        for loss, draws in ((pyro_loss, 600), (vae_loss, 600))
    )
    error = ((theirs.var() + ours.var()) / 600).sqrt()
    assert error < 0.02 * ours.mean()
    assert abs(theirs.mean() - ours.mean()) < 4 * error


@pytest.mark.parametrize("name", ["M2", "SMVAE"])
def test_the_plain_loop_has_the_same_loss(name, monkeypatch):
    net = network(name, WIDTHS)
    p, batches, scalars = problem(net, WIDTHS, 3)
    silent = {kind: Batch(b.x, b.y, tuple(0 * each for each in b.normal), ()) for kind, b in batches.items()}
    plain = (
        PlainM2(sum(WIDTHS), HIDDEN, LATENT, CLASSES) if name == "M2" else PlainSMVAE(WIDTHS, HIDDEN, LATENT, CLASSES)
    )
    model = plain.double()
    _weights(model, p)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    known, rest = batches["labelled"], batches["unlabelled"]
    found = vae_loss(model, known.x[0], known.y[0, :, 0].long(), rest.x[0], scalars["c"][0].item())
    torch.testing.assert_close(found, net.updates[0].loss(p, silent, scalars)[0])
