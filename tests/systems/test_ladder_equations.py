"""The ladder against an independent NumPy float64 transcription of its equations, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affect.systems.ladder import dense_network, ladder_network
from affect.systems.ladder_layers import DecoderLayer, EncoderLayer
from affect.systems.training import Batch
from tests.systems.toy import SCALARS

K, B, D, H, T = 2, 12, 5, 7, 3


def _parameters(layout, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(K, *shape, generator=g, dtype=torch.float64) * 0.5 for name, shape in layout.shapes.items()
    }


def _batch(seed, normal, uniform, y=True):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    return Batch(
        draw(K, B, D),
        draw(K, B, T) if y else torch.empty(K, B, 0, dtype=torch.float64),
        tuple(draw(K, B, d) for d in normal),
        tuple(torch.rand(K, B, d, generator=g, dtype=torch.float64) for d in uniform),
    )


def _copy(batch):
    return Batch(batch.x, batch.y, tuple(n.clone() for n in batch.normal), tuple(u.clone() for u in batch.uniform))


def _scalars():
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in SCALARS.items()}


def _ccc(p, t):
    covariance = np.mean((p - p.mean()) * (t - t.mean()))
    return 2 * covariance / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)


def _bn(a):
    mean, std = a.mean(0), np.sqrt(a.var(0) + 1e-10)
    return (a - mean) / std, mean, std


def numpy_ladder(p, batch, s, k):
    """One replicate's (prediction, cost per layer), written from Rasmus et al. Algorithm 1 and P1 Section III-B."""
    p = {name: value[k].numpy() for name, value in p.items()}
    x, (n0, n1, n2) = batch.x[k].numpy(), [n[k].numpy() * np.sqrt(s["noise_variance"][k].item()) for n in batch.normal]
    rate = s["dropout_input"][k].item()
    keep = (batch.uniform[0][k].numpy() >= rate) / (1 - rate)

    def encoder(h, noises):
        zs, stats = [], []
        for layer, noise in zip((1, 2), noises, strict=True):
            z, mean, std = _bn(h @ p[f"w{layer}"])
            z = z + noise
            h = np.maximum(0, p[f"gamma{layer}"] * (z + p[f"beta{layer}"]))
            zs.append(z)
            stats.append((mean, std))
        return zs, stats, h

    clean, stats, _ = encoder(x, (0, 0))
    noisy, _, top = encoder((x + n0) * keep, (n1, n2))

    def g(layer, z, u):
        a1, a2, a3, a4, b1, c1, c2, c3, c4 = p[f"combine{layer}"]
        return a1 + a2 * z + a3 * u + a4 * z * u + b1 / (1 + np.exp(-(c1 + c2 * z + c3 * u + c4 * z * u)))

    e2 = g(2, noisy[1], _bn(top)[0])
    e1 = g(1, noisy[0], _bn(e2 @ p["v2"])[0])
    e0 = g(0, x + n0, _bn(e1 @ p["v1"])[0])
    costs = [np.mean((e0 - x) ** 2)]
    costs += [np.mean(((e - m) / sd - z) ** 2) for e, (m, sd), z in zip((e1, e2), stats, clean, strict=True)]
    return top @ p["head"] + p["head_bias"][0], costs


@pytest.mark.parametrize("seed", range(3))
def test_labelled_and_unlabelled_losses_equal_the_transcription(seed):
    network = ladder_network(D, H, T, True, "alternate")
    p, s = _parameters(network.layout, seed), _scalars()
    labelled, unlabelled = network.updates
    batches = {"labelled": _batch(seed, labelled.normal, labelled.uniform)}
    batches["unlabelled"] = _batch(seed + 9, unlabelled.normal, unlabelled.uniform, y=False)
    got_l = labelled.loss(p, {k: _copy(v) for k, v in batches.items()}, s)
    got_u = unlabelled.loss(p, {k: _copy(v) for k, v in batches.items()}, s)
    joint = ladder_network(D, H, T, True, "joint").updates[0]
    got_j = joint.loss(p, {k: _copy(v) for k, v in batches.items()}, s)
    for k in range(K):
        lambdas = [s[f"lambda_{layer}"][k].item() for layer in range(3)]
        prediction, costs = numpy_ladder(p, batches["labelled"], s, k)
        truth = batches["labelled"].y[k].numpy()
        supervised = sum(w * (1 - _ccc(prediction[:, t], truth[:, t])) for t, w in enumerate(s["weights"][k].tolist()))
        want_l = supervised + np.dot(lambdas, costs)
        want_u = np.dot(lambdas, numpy_ladder(p, batches["unlabelled"], s, k)[1])
        assert got_l[k].item() == pytest.approx(want_l, rel=1e-9)
        assert got_u[k].item() == pytest.approx(want_u, rel=1e-9)
        assert got_j[k].item() == pytest.approx(want_l + want_u, rel=1e-9)


def test_gradients_of_the_ladder_losses_by_finite_differences():
    network = ladder_network(D, H, T, True, "alternate")
    s = _scalars()
    p = _parameters(network.layout)
    names = list(p)
    for update in network.updates:
        batch = _batch(3, update.normal, update.uniform, y=update.name == "labelled")

        def loss(*values, update=update, batch=batch):
            return update.loss(dict(zip(names, values, strict=True)), {update.name: _copy(batch)}, s)

        values = [p[name].clone().requires_grad_() for name in names]
        assert torch.autograd.gradcheck(loss, values, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_layer_functions_pass_gradcheck_with_every_output_used():
    g = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    pre = draw(K, 2, B, H).requires_grad_()
    gamma, beta = draw(K, H).requires_grad_(), draw(K, H).requires_grad_()
    noise = draw(K, B, H)
    for last in (False, True):
        assert torch.autograd.gradcheck(
            lambda a, b, c, last=last: EncoderLayer.apply(a, noise, b, c, last), (pre, gamma, beta)
        )
    arguments = [draw(K, B, H), draw(K, B, H), draw(K, 9, H), draw(K, B, H), draw(K, 1, H), draw(K, 1, H).abs() + 0.5]
    assert torch.autograd.gradcheck(DecoderLayer.apply, [a.requires_grad_() for a in arguments])


def test_dense_network_equals_the_transcription():
    network = dense_network(D, H, T)
    p, s = _parameters(network.layout), _scalars()
    batch = _batch(0, (), (D, H))
    got = network.updates[0].loss(p, {"labelled": _copy(batch)}, s)
    for k in range(K):
        q = {name: value[k].numpy() for name, value in p.items()}
        p1, p2 = s["dropout_input"][k].item(), s["dropout_hidden"][k].item()
        h = batch.x[k].numpy() * (batch.uniform[0][k].numpy() >= p1) / (1 - p1)
        h = np.maximum(0, h @ q["w1"] + q["b1"]) * (batch.uniform[1][k].numpy() >= p2) / (1 - p2)
        out = np.maximum(0, h @ q["w2"] + q["b2"]) @ q["head"] + q["head_bias"]
        truth = batch.y[k].numpy()
        want = sum(w * (1 - _ccc(out[:, t], truth[:, t])) for t, w in enumerate(s["weights"][k].tolist()))
        assert got[k].item() == pytest.approx(want, rel=1e-9)


def test_inference_follows_the_clean_path_with_statistics_of_the_calibration_rows():
    network = ladder_network(D, H, T, False, None)
    p = _parameters(network.layout)
    g = torch.Generator().manual_seed(5)
    calibration = torch.randn(40, D, generator=g, dtype=torch.float64)
    x = torch.randn(9, D, generator=g, dtype=torch.float64)
    got = network.predict(network.freeze(p, calibration), x)
    for k in range(K):
        q = {name: value[k].numpy() for name, value in p.items()}
        c, h = calibration.numpy(), x.numpy()
        for layer in ("1", "2"):
            _, mean, std = _bn(c @ q["w" + layer])
            c, h = (
                np.maximum(0, q["gamma" + layer] * ((a @ q["w" + layer] - mean) / std + q["beta" + layer]))
                for a in (c, h)
            )
        np.testing.assert_allclose(got[k].numpy(), h @ q["head"] + q["head_bias"], rtol=1e-9)
