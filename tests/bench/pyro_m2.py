"""M2 as a user of Pyro writes it, whose ELBO goes through all classes: what benchmark (j) is measured beside."""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor
from torch.nn import functional

from tests.bench.plain_vae import PlainM2, moments


class PyroM2(PlainM2):
    """The networks of the plain model in Pyro's terms: rows with a one-hot class, or without."""

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z) p(x|y,z)."""
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), self.latent), 1).to_event(1))
            label = pyro.sample("y", dist.OneHotCategorical(x.new_ones(len(x), self.classes)), obs=y)
            mean, log_variance = moments(self.decoder(_beside(z, label)))
            pyro.sample("x", dist.Normal(mean, (0.5 * log_variance).exp()).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(y|x) q(z|x,y)."""
        with pyro.plate("rows", len(x)):
            if y is None:
                scores = self.classifier(x)
                y = pyro.sample("y", dist.OneHotCategorical(logits=scores), infer={"enumerate": "parallel"})
            mean, log_variance = moments(self.encoder(_beside(x, y)))
            pyro.sample("z", dist.Normal(mean, (0.5 * log_variance).exp()).to_event(1))


def _beside(left: Tensor, right: Tensor) -> Tensor:
    """Side by side, where one of them may lack the dimension of the classes gone through."""
    shape = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return torch.cat((left.expand(*shape, -1), right.expand(*shape, -1)), -1)


def pyro_loss(model: PyroM2, x: Tensor, y: Tensor, pool: Tensor, c: float) -> Tensor:
    """F per row (P2, Eq. 8), with one sample of z for all of its terms."""
    rows, known = len(x) + len(pool), functional.one_hot(y, model.classes).to(x.dtype)
    loss = Trace_ELBO().differentiable_loss(model.model, model.guide, x, known)
    loss = loss + TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model.model, model.guide, pool)
    return (loss + c * rows / len(x) * functional.cross_entropy(model.classifier(x), y, reduction="sum")) / rows
