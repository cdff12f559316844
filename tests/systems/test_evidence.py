"""Bounds against the evidence itself, integrated on a grid: none exceeds it, and well-fitted inference comes close.

Decoders are random and stay so; everything that infers is fitted to one sample with one-dimensional latent variables. A
wrong sign or constant, or a missing logarithm, would leave the bound far away or above.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from affect.systems.training import Batch
from tests.systems.problems import CLASSES, network
from tests.systems.transcription import EYE, gaussian, net

GRID = np.linspace(-7, 7, 141)
STEP = GRID[1] - GRID[0]
COPIES, STEPS, RATE = 32, 150, 0.05
"""Draws of noise for a step, steps, and Adam's first step size, with which inference is fitted."""
JENSEN = 0.5 * (1 - np.log(2))
"""Of the entropy bound in one dimension, where components coincide or lie apart."""


def _density(q, name, x, **parts):
    return norm.logpdf(x, *gaussian(net(q, name, **parts))).sum()


def _over(points, value):
    """log ∫ exp(value) over so many points of the grid each."""
    return logsumexp([value(*at) for at in points]) + len(points[0]) * np.log(STEP)


LINE = [(at,) for at in GRID]
PLANE = [(one, other) for one in GRID[::4] for other in GRID[::4]]


def _m2(q, x, y):
    return _over(LINE, lambda z: norm.logpdf(z) + _density(q, "decoder1", x, z=[z], y=EYE[y]))


def _views(q, x, y):
    label = {} if y is None else {"y": EYE[y]}
    parts = np.split(x, 2)
    return _over(
        LINE,
        lambda z: norm.logpdf(z) + sum(_density(q, f"decoder{v + 1}", parts[v], z=[z], **label) for v in range(2)),
    )


def _auxiliary(q, x, y):
    def joint(z, a):
        value = norm.logpdf(z) + _density(q, "auxiliary_prior", a, z=[z], y=EYE[y])
        return value + _density(q, "decoder1", x, z=[z], a=[a], y=EYE[y])

    return _over(PLANE, joint) + 2 * np.log(4)


def _incomplete(q, x, y):
    """The second view integrated out."""

    def joint(z, second):
        value = norm.logpdf(z) + _density(q, "decoder2", second, z=[z], y=EYE[y])
        return value + _density(q, "decoder1", x[:1], z=[z], y=EYE[y], given=[second])

    return _over(PLANE, joint) + 2 * np.log(4)


CASES = {
    "M2": (_m2, 0.0),
    "SDGM": (_auxiliary, 0.0),
    "SDGM+": (lambda q, x, y: _auxiliary(q, x[:1], y), 0.0),
    "MVAE": (_views, JENSEN),
    "SMVAE": (_views, JENSEN),
    "SiMVAE": (_incomplete, JENSEN),
    "MoPoE-VAE": (_views, 0.0),
}
"""System → log p(x | y) on the grid, and what the bound lacks by itself."""


@pytest.mark.parametrize("name", CASES)
def test_a_fitted_bound_is_just_below_the_evidence(name):
    evidence, gap = CASES[name]
    generator = torch.Generator().manual_seed(1)
    model = network(name, (1, 1), latent=1, auxiliary=1, hidden="6")
    p = {n: 0.4 * torch.randn(1, *s, generator=generator, dtype=torch.float64) for n, s in model.layout.shapes.items()}
    x, y = torch.tensor([0.4, -0.3], dtype=torch.float64), 1
    nothing = torch.zeros(1, dtype=torch.float64)
    scalars = {n: nothing for n in ("c", "c1", "c2", "alpha3", "weight_prior")}

    def loss(copies):
        present = None
        if name == "SiMVAE":
            present = torch.tensor([1.0, 0.0]).expand(1, copies, 2)
        batches = {}
        for kind in ("labelled", "unlabelled"):
            normal = tuple(
                torch.randn(1, copies, width, generator=generator, dtype=torch.float64)
                for width in model.updates[0].normal
            )
            labels = torch.full((1, copies, 1 if kind == "labelled" else 0), float(y))
            batches[kind] = Batch(x.repeat(1, copies, 1), labels, normal, (), present=present)
        return model.updates[0].loss(p, batches, scalars)

    inferring = [n for n in p if not n.startswith(("decoder", "auxiliary_prior"))]
    optimiser = torch.optim.Adam([p[n].requires_grad_() for n in inferring], RATE)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        optimiser.zero_grad()
        loss(COPIES).sum().backward()
        optimiser.step()
    with torch.no_grad():
        bound = -loss(5000).item()
    q = {n: value[0].detach().numpy() for n, value in p.items()}
    if name == "MVAE":
        want = evidence(q, x.numpy(), None)
    else:
        joint = [evidence(q, x.numpy(), each) - np.log(CLASSES) for each in range(CLASSES)]
        want = (joint[y] + logsumexp(joint)) / 2  # half of the rows have a label
    assert bound < want + 0.01
    assert want - bound == pytest.approx(gap, abs=0.06)
