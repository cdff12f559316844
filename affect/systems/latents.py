"""Inputs of the authors' SMVAE code: what an autoencoder of each view, trained beforehand without labels, makes of it.

An autoencoder of view v (M1 of Kingma et al. 2014) has q(h_v | x_v) and p(x_v | h_v), both Gaussian, with a N(0, I) prior,
and is trained on those rows of the pool that have every view. Then it is frozen, and wherever a generative system sees x_v it
is given h_v instead: a fresh draw at each step, the mean in predictions (the released code draws there, too). That code
comes without its autoencoders; their sizes here are ours.

The frozen encoders are parameters of the network that no gradient reaches. So every replicate has its own, and packs,
snapshots and checkpoints hold them like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from affect.systems.base import Facts, Fitting, Hyperparameter, Replicate
from affect.systems.fitting import StackedFitting
from affect.systems.gaussians import entropy, expected_log_prior, sample, split
from affect.systems.perceptrons import Perceptron, without_classes
from affect.systems.refusals import refuse_hidden
from affect.systems.shards import ALONE, Shard
from affect.systems.stack import Adam, Layout
from affect.systems.stages import Stage
from affect.systems.training import Batch, Network, Parameters, Update, epoch_size, pool_of, pool_rows, pool_size
from affect.systems.vae import SHARED, GenerativeSystem, layers
from affect.trial import Settings

PREFIX = "inputs_"
"""Of the autoencoders' settings, beside the system's own of the same names."""
LATENTS = "latents"

_OWN = {
    **{name: SHARED[name] for name in ("learning_rate", "epochs", "units")},
    "batch_size": replace(SHARED["batch_size"], help="rows of a batch"),
    "latent": Hyperparameter(100, low=1, structural=True, help="dimensions of h_v"),
    "hidden": Hyperparameter("200", structural=True, help="widths of the encoders' hidden layers"),
}
SETTINGS = {
    "inputs": Hyperparameter(
        "features",
        choices=("features", LATENTS),
        structural=True,
        late=True,
        help="views, or what autoencoders trained beforehand make of them",
    ),
    # All structural: packs share the autoencoders of a seed.
    **{PREFIX + name: replace(hp, structural=True, part_of="inputs") for name, hp in _OWN.items()},
}


def own_settings(settings: Settings) -> dict[str, Any]:
    """The autoencoders' settings by their own names."""
    return {name: settings[PREFIX + name] for name in _OWN}


def on_latents(settings: Settings) -> bool:
    return settings.get("inputs", "features") == LATENTS


def _encoders(settings: Settings, facts: Facts) -> list[Perceptron]:
    """q(h_v | x_v) of every view."""
    latent, hidden, units = int(settings["latent"]), layers(settings), str(settings["units"])
    return [
        Perceptron(f"inputs{v}", {"x": width}, hidden, 2 * latent, units) for v, width in enumerate(facts.widths, 1)
    ]


def _moments(p: Parameters, encoders: Sequence[Perceptron], facts: Facts, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and log-variance of h_v [K, B, latent] of every view of x [K, B, D]."""
    views = x.split(list(facts.widths), -1)
    return [split(net.output(p, net.enter(p, {"x": view}))) for net, view in zip(encoders, views, strict=True)]


def _means(p: Parameters, encoders: Sequence[Perceptron], facts: Facts, x: Tensor) -> Tensor:
    """E[h] of all views side by side [K, n, V · latent] of x [n, D]."""
    x = x.expand(len(p["inputs1.b1"]), -1, -1)
    return torch.cat([mean for mean, _ in _moments(p, encoders, facts, x)], -1)


def autoencoders(settings: Settings, facts: Facts) -> Network:
    """All views' autoencoders as one network, whose loss [K] is their negative evidence bounds, summed, per row."""
    encoders, latent, units = _encoders(settings, facts), int(settings["latent"]), str(settings["units"])
    back = layers(settings)[::-1]
    decoders = [
        Perceptron(f"outputs{v}", {"h": latent}, back, 2 * width, units) for v, width in enumerate(facts.widths, 1)
    ]
    nets = (*encoders, *decoders)

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        batch, value = batches["unlabelled"], torch.zeros(())
        views, rows = batch.x.split(list(facts.widths), -1), without_classes(batch.x)
        found = _moments(p, encoders, facts, batch.x)
        for decoder, view, (mean, log_variance), noise in zip(decoders, views, found, batch.normal, strict=True):
            entered = decoder.enter(p, {"h": sample(mean, log_variance, noise)})
            value = value + decoder.log_density(p, entered, view, rows)
            value = value + expected_log_prior(mean, log_variance) + entropy(log_variance)
        return -value.mean(1)

    def freeze(p: Parameters, calibration: Tensor) -> Parameters:
        return {name: p[name] for net in encoders for name in net.shapes}

    def predict(p: Parameters, x: Tensor) -> Tensor:
        return _means(p, encoders, facts, x)

    update = Update("inputs", ("unlabelled",), loss, (latent,) * len(encoders), ())
    return Network(_layout(nets), lambda seed: _initial(nets, seed), (update,), freeze, predict, Adam)


def _layout(nets: Sequence[Perceptron]) -> Layout:
    return Layout({name: shape for net in nets for name, shape in net.shapes.items()})


def _initial(nets: Sequence[Perceptron], seed: int) -> dict[str, Tensor]:
    return {name: value for net in nets for name, value in net.initial(seed).items()}


AUTOENCODERS = Stage("inputs", autoencoders, _OWN)

Build = Callable[[Settings, Facts], Network]


def encodable(build: Build) -> Build:
    """`build`, whose network is one of h instead of x where `inputs` says so. Its encoders are untrained."""

    def network(settings: Settings, facts: Facts) -> Network:
        if not on_latents(settings):
            return build(settings, facts)
        own, views = own_settings(settings), len(facts.widths)
        latent, encoders = int(own["latent"]), _encoders(own, facts)
        inner = build(settings, replace(facts, width=latent * views, widths=(latent,) * views))
        (update,) = inner.updates
        frozen = _layout(encoders).shapes

        def parted(p: Parameters) -> tuple[Parameters, Parameters]:
            """The network's own parameters, and the encoders'."""
            ours = {name: value for name, value in p.items() if name not in frozen}
            return ours, {name: p[name].detach() for name in frozen}

        def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
            ours, theirs = parted(p)

            def drawn(batch: Batch) -> Batch:
                pairs = zip(_moments(theirs, encoders, facts, batch.x), batch.normal, strict=False)
                h = torch.cat([sample(mean, log_variance, noise) for (mean, log_variance), noise in pairs], -1)
                return replace(batch, x=h, normal=batch.normal[views:])

            return update.loss(ours, {kind: drawn(batch) for kind, batch in batches.items()}, scalars)

        def predict(p: Parameters, x: Tensor) -> Tensor:
            ours, theirs = parted(p)
            return inner.predict(ours, _means(theirs, encoders, facts, x))

        return replace(
            inner,
            layout=Layout({**inner.layout.shapes, **frozen}),
            initial=lambda seed: {**inner.initial(seed), **_initial(encoders, seed)},
            updates=(replace(update, loss=loss, normal=(latent,) * views + update.normal),),
            predict=predict,
            learned=lambda p: inner.learned(parted(p)[0]),
        )

    return network


@dataclass(frozen=True)
class EncodableSystem(GenerativeSystem):
    """A generative system whose views may be encoded beforehand; follows `affect.systems.base.System`."""

    def check(self, settings: Settings) -> None:
        super().check(settings)
        if on_latents(settings):
            refuse_hidden(self.name, settings, PREFIX + "hidden")

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """The system's, to which the autoencoders' time is added."""
        size, seconds = super().probe(settings, facts, device, largest)
        if on_latents(settings):
            seconds += AUTOENCODERS.seconds(own_settings(settings), facts, device) / self.steps(settings, facts)
        return size, seconds

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        fitting = super().begin(replicates, device=device, shard=shard)
        if on_latents(replicates[0].settings):
            assert isinstance(fitting, StackedFitting)
            learned = AUTOENCODERS.learn(self.name, [_beforehand(replicate) for replicate in replicates], device)
            for k, found in enumerate(learned):
                for name, value in fitting.trainer.parameters.items():
                    if name.startswith("inputs"):  # without a finite encoder the fit diverges, as it should
                        value.data[k] = torch.nan if found is None else found[name][0].to(device)
        return fitting


def _beforehand(replicate: Replicate) -> Replicate:
    """What the autoencoders see of a replicate: the same unlabelled rows, in as many steps."""
    data = replicate.data
    pool = pool_of(data, pool_rows(pool_size(data), replicate.settings), replicate.seed)
    data = replace(data, pool=pool, epoch_rows=epoch_size(data))
    return replace(replicate, data=data, settings=own_settings(replicate.settings))
