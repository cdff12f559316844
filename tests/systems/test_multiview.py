"""MVAE, SMVAE, SiMVAE and MoPoE-VAE against the transcription of their equations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import norm

from affect.systems import get_system
from affect.systems.base import Replicate, fit_pack, resolve_settings
from tests.systems import transcription
from tests.systems.problems import LABELLED, LATENT, SCALARS, network, of, problem, rows_of
from tests.systems.toy import class_data
from tests.systems.transcription import CLASSES, EYE

WIDTHS = {2: (3, 2), 3: (2, 3, 2)}


def _smvae_scores(row, q):
    return transcription.net(q, "classifier", x=np.concatenate(row["x"]))


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("incomplete", [False, True])
@pytest.mark.parametrize("author", [False, True])
def test_smvae_is_the_transcription(views, incomplete, author):
    widths = WIDTHS[views]
    settings = {"weighting": "squared", "entropy": "per_dimension"} if author else {}
    net = network("SMVAE", widths, **settings)
    p, batches, scalars = problem(net, widths, 4, tuple(range(views)) if incomplete else ())
    got = net.updates[0].loss(p, batches, scalars)
    for k, c in enumerate(SCALARS["c"]):
        q, rows = of(p, k), rows_of(batches, widths, k, views)

        def value(row, y, q=q):
            bound = transcription.multiview(q, row["x"], row["eps"], EYE[y], author, author, row["has"])
            return bound - np.log(CLASSES)

        want = transcription.semi_supervised(rows, value, lambda row, q=q: _smvae_scores(row, q), c)
        want += 1e8 * (np.sum(q["weights"] ** 2) - 1) ** 2 if author else 0
        assert got[k].item() == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize(
    ("views", "incomplete", "missing"),
    [(2, "last", ()), (2, "last", (1,)), (2, "1", (0,)), (2, "all", (0, 1)), (3, "last", (2,)), (3, "2+3", (1, 2))],
)
def test_simvae_is_the_transcription(views, incomplete, missing):
    """Labelled and unlabelled, complete and incomplete rows each by their own equation (12-17)."""
    widths = WIDTHS[views]
    net = network("SiMVAE", widths, incomplete=incomplete)
    p, batches, scalars = problem(net, widths, 5, missing)
    got = net.updates[0].loss(p, batches, scalars)
    absent = missing or (views - 1,)
    for k, c2 in enumerate(SCALARS["c2"]):
        q, rows = of(p, k), rows_of(batches, widths, k, views)
        total, surprise = 0.0, 0.0
        for row in rows:
            x, entropies = list(row["x"]), 0.0
            for m, noise in zip(absent, row["noise"], strict=True):
                parts = {"x": np.concatenate([row["x"][v] for v in range(views) if v != m])}
                flags = [float(row["has"][v]) for v in absent if v != m]
                moments = transcription.gaussian(
                    transcription.net(q, f"imputer{m + 1}", **parts, **({"present": np.array(flags)} if flags else {}))
                )
                if row["has"][m]:
                    surprise -= norm.logpdf(x[m], *moments).sum() * all(row["has"])
                else:
                    x[m] = moments[0] + moments[1] * noise
                    entropies += norm.entropy(*moments).sum()
            log_q = log_softmax(transcription.net(q, "classifier", x=np.concatenate(x)))

            def complete(y, q=q, x=x, row=row):
                return np.log(CLASSES) - transcription.multiview(q, x, row["eps"], EYE[y], absent=absent)

            if row["y"] is not None:  # Eqs. 12 and 13, and the classification loss of Eq. 17
                total += complete(row["y"]) - entropies - c2 * len(rows) / LABELLED * log_q[row["y"]]
            else:  # Eqs. 14 and 15
                total += sum(np.exp(log_q[y]) * (complete(y) + log_q[y]) for y in range(CLASSES)) - entropies
        paired = sum(all(row["has"]) for row in rows)
        assert missing == () or 0 < paired < len(rows)
        total += SCALARS["c1"][k] * len(rows) / paired * surprise
        assert got[k].item() == pytest.approx(total / len(rows), rel=1e-10)


def test_the_loss_of_a_batch_is_that_of_its_complete_and_its_incomplete_rows():
    """Without the imputation loss, whose weight depends on both, SiMVAE's J is a sum over rows (Eq. 16)."""
    widths = WIDTHS[2]
    net = network("SiMVAE", widths)
    p, batches, scalars = problem(net, widths, 6, (1,), replicates=1)
    scalars |= {"c1": torch.zeros(1).double(), "c2": torch.zeros(1).double()}

    def total(chosen):
        part = {
            kind: replace(
                batch,
                x=batch.x[:, chosen[kind]],
                y=batch.y[:, chosen[kind]],
                normal=tuple(each[:, chosen[kind]] for each in batch.normal),
                present=batch.present[:, chosen[kind]],
            )
            for kind, batch in batches.items()
        }
        return net.updates[0].loss(p, part, scalars) * sum(len(c) for c in chosen.values())

    whole = {kind: range(batch.x.shape[1]) for kind, batch in batches.items()}
    complete = {kind: [b for b in rows if batches[kind].present[0, b].all()] for kind, rows in whole.items()}
    rest = {kind: [b for b in rows if b not in complete[kind]] for kind, rows in whole.items()}
    assert all(complete.values())
    assert all(rest.values())
    torch.testing.assert_close(total({k: list(v) for k, v in whole.items()}), total(complete) + total(rest))


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("incomplete", [False, True])
def test_mopoe_and_mvae_are_the_transcription(views, incomplete):
    widths = WIDTHS[views]
    missing = tuple(range(views)) if incomplete else ()
    net = network("MoPoE-VAE", widths)
    p, batches, scalars = problem(net, widths, 7, missing)
    got = net.updates[0].loss(p, batches, scalars)
    for k, c in enumerate(SCALARS["c"]):
        q, rows = of(p, k), rows_of(batches, widths, k, 2**views - 1)

        def value(row, y, q=q):
            return transcription.mopoe(q, row["x"], row["eps"], EYE[y], row["has"]) - np.log(CLASSES)

        want = transcription.semi_supervised(rows, value, lambda row, q=q: _smvae_scores(row, q), c)
        assert got[k].item() == pytest.approx(want, rel=1e-10)
    net = network("MVAE", widths)
    p, batches, scalars = problem(net, widths, 8, missing)
    got = net.updates[0].loss(p, batches, scalars)
    for k, c in enumerate(SCALARS["c"]):
        q, rows = of(p, k), rows_of(batches, widths, k, views)
        want = 0.0
        for row in rows:
            want -= transcription.multiview(q, row["x"], row["eps"], None, has=row["has"])
            if row["y"] is not None:
                moments, weights = transcription.mixture(q, row["x"], None, has=row["has"])
                centre = sum(w * mean for w, (mean, _) in zip(weights, moments, strict=True))
                want -= c * len(rows) / LABELLED * log_softmax(transcription.net(q, "classifier", x=centre))[row["y"]]
        assert got[k].item() == pytest.approx(want / len(rows), rel=1e-10)


def test_smvae_with_one_view_is_m2_up_to_the_gap_of_the_bound():
    """λ = (1, 0), one decoder and the classifier on view 1: M2's loss plus D/2 (1 - ln 2)."""
    width, gap = 3, LATENT / 2 * (1 - math.log(2))
    m2, smvae = network("M2", (width,)), network("SMVAE", (width, 2))
    p, batches, scalars = problem(smvae, (width, 2), 9)
    own = {name: value[:, :width] if name == "classifier.x" else value for name, value in p.items()}
    own = {name: own[name] for name in m2.layout.shapes}
    first = {kind: replace(batch, x=batch.x[..., :width], normal=batch.normal[:1]) for kind, batch in batches.items()}
    want = m2.updates[0].loss(own, first, scalars) + gap
    # Either no row has view 2 ...
    nowhere = torch.tensor([1.0, 0.0]).double()
    alone = {kind: replace(b, present=nowhere.expand(*b.x.shape[:2], 2), x=b.x.clone()) for kind, b in batches.items()}
    torch.testing.assert_close(smvae.updates[0].loss(p, alone, scalars), want)
    # ... or it has no weight: then its decoder, made a constant N(0, 1), and the classifier's weights are taken out by hand.
    p["weights"] = torch.tensor([[300.0, -300.0]]).double().expand(2, -1)
    p["classifier.x"][:, width:] = 0
    for name in p:
        if name.startswith("decoder2"):
            p[name] = torch.zeros_like(p[name])
    second = [norm.logpdf(torch.cat([b.x[k, :, width:] for b in batches.values()])).sum(-1).mean() for k in range(2)]
    got = smvae.updates[0].loss(p, batches, scalars) + torch.tensor(second)
    torch.testing.assert_close(got, want)


SMALL = {"hidden": "20", "latent": 2, "batch_size": 40, "batches": 0, "epochs": 25, "learning_rate": 5e-3}


def _weights(preset, noises, seeds):
    """Both weights per epoch [seeds, 2, epochs] of fits to two views of one factor, each with noise of its own."""
    g = np.random.default_rng(0)
    data = class_data(0, widths=(6, 6))
    factor = g.standard_normal((len(data.train.arrays[0]), 2))
    views = [factor @ g.standard_normal((2, 6)) + noise * g.standard_normal((len(factor), 6)) for noise in noises]
    arrays = tuple((view / view.std(0)).astype(np.float32) for view in views)
    data = replace(data, train=replace(data.train, arrays=arrays), development=replace(data.development, arrays=arrays))
    system = get_system("SMVAE")
    settings = resolve_settings(system, preset, SMALL)
    fits = fit_pack(system, [Replicate(data, settings, seed) for seed in range(seeds)], device="cpu")
    names = ("weight view 1", "weight view 2")
    return np.array([[[value for _, n, value in fit.learned if n == name] for name in names] for fit in fits])


@pytest.mark.parametrize("better", [0, 1])
def test_smvae_learns_which_view_says_more(better):
    """The weights of a fit can be read per epoch, sum to 1, and move to the view with less noise."""
    weights = _weights("paper", (0.2, 2.0) if better == 0 else (2.0, 0.2), seeds=4)
    assert weights.shape == (4, 2, 25)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights[:, better, -1].mean() > 0.6


def test_the_authors_penalty_keeps_the_weights_where_they_were():
    """Adam divides by the size of past gradients: beside one of 1e8, what tells the views apart is nothing."""
    weights = _weights("author_code", (0.2, 2.0), seeds=1)
    np.testing.assert_allclose(weights.sum(1), 1, atol=6e-3)
    np.testing.assert_allclose(weights, 0.5, atol=4e-3)
