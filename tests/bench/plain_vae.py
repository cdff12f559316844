"""M2 and SMVAE for one replicate in plain PyTorch, as a user would write them: what packs are compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LIMIT = 6.0


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Softplus()]
    return nn.Sequential(*layers[:-1])


def moments(output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance within (-6, 6)."""
    mean, raw = output.chunk(2, -1)
    return mean, raw / torch.sqrt(1 + (raw / LIMIT) ** 2)


def log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return -0.5 * ((x - mean) ** 2 / log_variance.exp() + log_variance + math.log(2 * math.pi)).sum(-1)


def log_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    return -0.5 * (mean**2 + log_variance.exp() + math.log(2 * math.pi)).sum(-1)


class PlainM2(nn.Module):
    """q(y|x), q(z|x,y), p(x|y,z); `bound` is -L(x, y) of rows with one-hot classes."""

    def __init__(self, width: int, hidden: Sequence[int], latent: int, classes: int) -> None:
        super().__init__()
        self.classes, self.latent = classes, latent
        self.classifier = perceptron(width, *hidden, classes)
        self.encoder = perceptron(width + classes, *hidden, 2 * latent)
        self.decoder = perceptron(latent + classes, *hidden[::-1], 2 * width)

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        mean, log_variance = moments(self.encoder(torch.cat((x, y), -1)))
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        value = log_density(x, *moments(self.decoder(torch.cat((z, y), -1))))
        entropy = 0.5 * (log_variance + 1 + math.log(2 * math.pi)).sum(-1)
        return value + log_prior(mean, log_variance) + entropy - math.log(self.classes)


class PlainSMVAE(nn.Module):
    """The same with an encoder and a decoder per view, and a mixture over the encoders (P2, Eq. 5)."""

    def __init__(self, widths: Sequence[int], hidden: Sequence[int], latent: int, classes: int) -> None:
        super().__init__()
        self.classes, self.widths = classes, list(widths)
        self.classifier = perceptron(sum(widths), *hidden, classes)
        self.encoders = nn.ModuleList([perceptron(width + classes, *hidden, 2 * latent) for width in widths])
        self.decoders = nn.ModuleList([perceptron(latent + classes, *hidden[::-1], 2 * width) for width in widths])
        self.weights = nn.Parameter(torch.zeros(len(widths)))

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        views = x.split(self.widths, -1)
        log_weights = self.weights.log_softmax(0)
        found = [moments(net(torch.cat((view, y), -1))) for net, view in zip(self.encoders, views, strict=True)]
        value = torch.full((len(x),), -math.log(self.classes), dtype=x.dtype)
        for v, (mean, log_variance) in enumerate(found):
            z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            given = torch.cat((z, y), -1)
            own = log_prior(mean, log_variance)
            for net, view in zip(self.decoders, views, strict=True):
                own = own + log_density(view, *moments(net(given)))
            overlaps = [
                weight + log_density(mean, other, (log_variance.exp() + spread.exp()).log())
                for weight, (other, spread) in zip(log_weights, found, strict=True)
            ]
            value = value + log_weights[v].exp() * (own - torch.stack(overlaps).logsumexp(0))
        return value


def vae_loss(model: PlainM2 | PlainSMVAE, x: Tensor, y: Tensor, pool: Tensor, c: float) -> Tensor:
    """F per row (P2, Eq. 8); of the pool's rows all classes are gone through at once."""
    rows, classes = len(x) + len(pool), model.classes
    labels = torch.cat((y, torch.arange(classes).repeat_interleave(len(pool))))
    bounds = model.bound(torch.cat((x, pool.repeat(classes, 1))), functional.one_hot(labels, classes).to(x.dtype))
    known, rest = bounds[: len(x)], bounds[len(x) :].view(classes, -1).T
    scores = model.classifier(torch.cat((x, pool)))
    log_q = scores[len(x) :].log_softmax(-1)
    loss = (log_q.exp() * (log_q - rest)).sum() - known.sum()
    return (loss + c * rows / len(x) * functional.cross_entropy(scores[: len(x)], y, reduction="sum")) / rows
