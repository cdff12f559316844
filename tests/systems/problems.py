"""Small float64 problems for the losses of generative networks, and the same as rows of the transcription."""

from __future__ import annotations

from dataclasses import replace

import torch

from affect.systems import get_system
from affect.systems.base import Facts, resolve_settings
from affect.systems.training import Batch

K, LABELLED, UNLABELLED, CLASSES, LATENT = 2, 3, 4, 3, 2
SIZES = {"hidden": "4-3", "latent": LATENT}
SCALARS = {"c": [0.5, 0.3], "c1": [0.2, 0.7], "c2": [0.5, 0.3], "alpha3": [0.4, 2.0], "weight_prior": [0.0, 0.0]}


def facts(widths):
    return Facts(sum(widths), ("emotion",), LABELLED, 50, 10, tuple(widths), CLASSES)


def network(name, widths, **settings):
    system = get_system(name)
    return system.network(resolve_settings(system, "paper", SIZES, {"units": "softplus"}, settings), facts(widths))


def problem(net, widths, seed=0, missing=(), replicates=K):
    """(parameters, batches, scalars): `missing` views are absent from about half of the rows of both batches."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    p = {name: 0.5 * draw(replicates, *shape) for name, shape in net.layout.shapes.items()}
    batches = {}
    for kind, rows in (("labelled", LABELLED), ("unlabelled", UNLABELLED)):
        y = torch.randint(CLASSES, (replicates, rows, 1), generator=g).double()
        present = None
        if missing:
            present = torch.ones(replicates, rows, len(widths), dtype=torch.float64)
            present[..., list(missing)] = torch.randint(2, present[..., list(missing)].shape, generator=g).double()
            # Where all views may be missing one is left; and each batch has a complete row and one that is not.
            present[..., 0] = torch.where(present.sum(-1) == 0, 1.0, present[..., 0])
            present[:, 0], present[:, 1, missing[-1]], present[:, 1, 0] = 1.0, 0.0, float(missing[-1] != 0)
        x = draw(replicates, rows, sum(widths))
        if present is not None:
            x = x * torch.repeat_interleave(present, torch.tensor(widths), -1)
        normal = tuple(draw(replicates, rows, width) for width in net.updates[0].normal)
        batches[kind] = Batch(x, y if kind == "labelled" else y[..., :0], normal, (), present=present)
    scalars = {name: torch.tensor(value, dtype=torch.float64)[:replicates] for name, value in SCALARS.items()}
    return p, batches, scalars


def rows_of(batches, widths, k, components):
    """Replicate k's rows: `eps` are the first `components` noises, `noise` the others."""
    rows = []
    for batch in batches.values():
        for b in range(batch.x.shape[1]):
            noise = [each[k, b].numpy() for each in batch.normal]
            has = [True] * len(widths) if batch.present is None else [bool(h) for h in batch.present[k, b]]
            rows.append(
                {
                    "x": [view.numpy() for view in batch.x[k, b].split(list(widths))],
                    "y": int(batch.y[k, b, 0]) if batch.y.shape[-1] else None,
                    "eps": noise[:components],
                    "noise": noise[components:],
                    "has": has,
                }
            )
    return rows


def of(p, k):
    return {name: value[k].numpy() for name, value in p.items()}


def disturbed(batches, widths):
    """The same batches with other values where views are missing."""
    changed = {}
    for kind, batch in batches.items():
        there = torch.repeat_interleave(batch.present, torch.tensor(widths), -1)
        changed[kind] = replace(batch, x=torch.where(there > 0, batch.x, 77.0))
    return changed


def gradients_hold(net, widths, missing=()):
    """Whether derivatives of the loss agree with finite differences along a random direction."""
    p, batches, scalars = problem(net, widths, 3, missing, replicates=1)
    names = list(p)
    values = [p[name].clone().requires_grad_() for name in names]
    copies = lambda: {k: replace(b, x=b.x.clone()) for k, b in batches.items()}  # noqa: E731
    return torch.autograd.gradcheck(
        lambda *given: net.updates[0].loss(dict(zip(names, given, strict=True)), copies(), scalars),
        values,
        fast_mode=True,
    )
