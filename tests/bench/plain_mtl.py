"""The plain multitask loop that the `MTL` row is held against: equal weights, CCC loss, dropout after the first layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from affect.data.task import FitData, Inputs
from affect.streams import stream
from affect.systems.ladder import dense_network
from affect.systems.training import batch_order, batches_per_epoch
from tests.bench.plain import ccc_loss


def plain_mtl(
    data: FitData, seed: int, epochs: int = 100, lr: float = 5e-4, hidden: int = 256
) -> Callable[[Inputs], np.ndarray]:
    """Train on the labelled subset, keep the best development epoch per target; returns predict(Inputs) → [n, T].

    Starts from the weights and visits the batches of trial seed `seed`, so that the comparison is paired; the network,
    loss, optimiser, dropout draws and selection are torch's and its own.
    """
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(nn.Linear(data.train.width, hidden), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, len(data.targets))),
    )
    start = dense_network(data.train.width, hidden, len(data.targets)).initial(seed)
    layers = [module for module in net if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, ("w1", "w2", "head"), ("b1", "b2", "head_bias"), strict=True):
            layer.weight.copy_(start[weight].T)
            layer.bias.copy_(start[bias][0])
    order = batch_order(len(data.labelled), 256, stream(seed, "batches", "labelled"))
    optimiser = torch.optim.NAdam(net.parameters(), lr)
    x = data.train.take(torch.from_numpy(data.labelled))
    y = torch.from_numpy(((data.y_labelled - data.target_mean) / data.target_std).astype(np.float32))
    x_dev = data.development.take(slice(None))
    y_dev = torch.from_numpy(((data.y_development - data.target_mean) / data.target_std).astype(np.float32))
    best: list[tuple[float, dict]] = [(-2.0, {})] * len(data.targets)
    for _ in range(epochs):
        net.train()
        for _ in range(batches_per_epoch(len(x), 256)):
            rows = torch.from_numpy(next(order))
            loss = ccc_loss(net(x[rows]), y[rows]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            scores = (1 - ccc_loss(net(x_dev), y_dev)).tolist()
        for t, score in enumerate(scores):
            if score > best[t][0]:
                best[t] = (score, {name: value.clone() for name, value in net.state_dict().items()})

    def predict(inputs: Inputs) -> np.ndarray:
        columns = []
        with torch.no_grad():
            for t, (_, state) in enumerate(best):
                net.load_state_dict(state)
                columns.append(net(inputs.take(slice(None)))[:, t].numpy())
        return np.stack(columns, 1) * data.target_std + data.target_mean

    return predict
