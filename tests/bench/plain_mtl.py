"""The plain multitask loop that the `MTL` row is held against: equal weights, CCC loss, dropout after the first layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from affect.data.task import FitData, Inputs
from tests.bench.plain import ccc_loss


def plain_mtl(data: FitData, seed: int, epochs: int = 100, lr: float = 5e-4, hidden: int = 256):
    """Train on the labelled subset, keep the best development epoch per target; returns predict(Inputs) → [n, T]."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(nn.Linear(data.train.width, hidden), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, len(data.targets))),
    )
    optimiser = torch.optim.NAdam(net.parameters(), lr)
    x = data.train.take(torch.from_numpy(data.labelled))
    y = torch.from_numpy(((data.y_labelled - data.target_mean) / data.target_std).astype(np.float32))
    x_dev = data.development.take(slice(None))
    y_dev = torch.from_numpy(((data.y_development - data.target_mean) / data.target_std).astype(np.float32))
    best: list[tuple[float, dict]] = [(-2.0, {})] * len(data.targets)
    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(len(x)).split(256):
            if len(rows) < 32:  # CCC of a handful of rows is noise
                continue
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
