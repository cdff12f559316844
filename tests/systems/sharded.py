"""What the workers of tests/systems/test_shards.py do: processes of one gloo group, each with its part of every batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from affect.systems import get_system
from affect.systems.base import resolve_settings
from affect.systems.ladder import dense_network, ladder_network
from affect.systems.shards import Severed, Shard
from affect.systems.training import Batch, Trainer, facts_of
from tests.systems.problems import network, problem
from tests.systems.toy import SCALARS, TARGETS, toy_data

STEPS = 10
NAMES = ("MTL", "Lad+L+MTL", "Lad+UL+MTL")
BATCHES = (21, 32)
"""Rows of a batch: 63 labelled rows are cut into batches of 21, or of 31 and 32."""
K, B, D, H, T = 2, 11, 5, 7, 3
UPDATES = ("dense", "labelled", "unlabelled", "joint")
GENERATIVE = ("M2", "SDGM", "SDGM+", "MVAE", "SMVAE", "SiMVAE", "MoPoE-VAE")


def trained(name: str, batch_size: int, shard: Shard) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses [steps, updates, K] of the first steps of a pack, and the parameters that they led to [K, P]."""
    system = get_system(name)
    data = [toy_data(seed, labelled=63, pool=41) for seed in range(K)]
    settings = resolve_settings(system, "paper", {"width": 16, "learning_rate": 3e-3, "batch_size": batch_size})
    network = system.network(settings, facts_of(data[0]))
    scalars = [system.scalars(settings | {"learning_rate": rate}, TARGETS) for rate in (1e-3, 3e-3)]
    trainer = Trainer(network, data, range(K), scalars, batch_size, "cpu", shard=shard)
    losses = [torch.stack(trainer.step()) for _ in range(STEPS)]
    return torch.stack(losses), trainer.flat


def differentiated(update: str, shard: Shard) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss [K] and gradients of one update in float64."""
    g = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    network = dense_network(D, H, T) if update == "dense" else ladder_network(D, H, T, True, "alternate")
    if update == "joint":
        network = ladder_network(D, H, T, True, "joint")
    chosen = next(u for u in network.updates if update in (u.name, "dense"))
    p = {name: (0.5 * draw(K, *shape)).requires_grad_() for name, shape in network.layout.shapes.items()}
    scalars = {name: torch.tensor(value, dtype=torch.float64) for name, value in SCALARS.items()}
    own = shard.rows(B)
    batches = {
        kind: Batch(
            draw(K, B, D)[:, own],
            draw(K, B, T),
            tuple(draw(K, B, d)[:, own] for d in chosen.normal),
            tuple(torch.rand(K, B, d, generator=g, dtype=torch.float64)[:, own] for d in chosen.uniform),
            shard,
            B - (own.stop - own.start),
        )
        for kind in chosen.reads
    }
    loss = chosen.loss(p, batches, scalars)
    gradients = torch.autograd.grad(loss.sum(), list(p.values()), materialize_grads=True)
    return loss.detach(), list(shard.reduce(*gradients))


def generated(name: str, shard: Shard) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss [K] and gradients of a generative system in float64, preset `author_code` but for its sizes, with a view that may
    be missing."""
    author = get_system(name).presets["author_code"]
    own = {n: author[n] for n in ("weighting", "entropy", "alpha", "inputs") if n in author}
    net = network(name, (3, 2), auxiliary=2, inputs_latent=3, inputs_hidden="4", **own)
    p, batches, scalars = problem(net, (3, 2), 2, (1,))
    scalars["weight_prior"] = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for kind, batch in batches.items():
        own = shard.rows(batch.x.shape[1])
        held = batch.x[:, own], tuple(each[:, own] for each in batch.normal), batch.present[:, own]
        rest = batch.x.shape[1] - held[0].shape[1]
        batches[kind] = replace(batch, x=held[0], normal=held[1], present=held[2], shard=shard, others=rest)
    p = {n: value.requires_grad_() for n, value in p.items()}
    loss = net.updates[0].loss(p, batches, scalars)
    gradients = torch.autograd.grad(loss.sum(), list(p.values()), materialize_grads=True)
    return loss.detach(), list(shard.reduce(*gradients))


def everything(shard: Shard) -> dict[str, Any]:
    torch.set_num_threads(1)
    found: dict[str, Any] = {f"{name} {size}": trained(name, size, shard) for name in NAMES for size in BATCHES}
    found |= {update: differentiated(update, shard) for update in UPDATES}
    return found | {name: generated(name, shard) for name in GENERATIVE}


def work(rank: int, size: int, folder: str) -> None:
    """Everything as one of `size` workers, saved in `folder`; at the end the last worker leaves the others alone."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=size)
    shard = Shard(rank, size)
    found = everything(shard)
    if rank < size - 1:
        try:
            while True:
                shard.reduce(torch.zeros(3))
        except Severed as error:
            found["severed"] = str(error)
    torch.distributed.destroy_process_group()  # Left to the end of the process, gloo's threads now and then abort it.
    torch.save(found, Path(folder) / f"{rank}.pt")
