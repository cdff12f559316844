"""P2's equations, one row and one class at a time in NumPy float64: what the stacked losses must equal.

Every function takes one replicate's parameters `q` (name → array). Rows are dictionaries: `x` (a list of views), `y` (None
for an unlabelled row), `eps` (one draw of z's noise per component of its posterior) and `has` (which views it has).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal, norm

CLASSES = 3
EYE = np.eye(CLASSES)


def net(q, name, **parts):
    """Outputs of a network for one row."""
    a = q[f"{name}.b1"][0] + sum(values @ q[f"{name}.{part}"] for part, values in parts.items())
    layer = 2
    while f"{name}.w{layer}" in q:
        a = np.logaddexp(0, a) @ q[f"{name}.w{layer}"] + q[f"{name}.b{layer}"][0]
        layer += 1
    return a


def gaussian(output):
    """Mean and standard deviation."""
    mean, raw = np.split(output, 2)
    return mean, np.exp(0.5 * raw / np.sqrt(1 + (raw / 6) ** 2))


def density(x, moments):
    return norm.logpdf(x, *moments).sum()


def prior(moments):
    """E log p(z)."""
    mean, std = moments
    return -0.5 * np.sum(np.log(2 * np.pi) + mean**2 + std**2)


def m2(q, row, y):
    """-L(x, y)."""
    x = np.concatenate(row["x"])
    mean, std = moments = gaussian(net(q, "encoder1", x=x, y=EYE[y]))
    z = mean + std * row["eps"][0]
    value = density(x, gaussian(net(q, "decoder1", z=z, y=EYE[y])))
    return value + prior(moments) + norm.entropy(mean, std).sum() - np.log(CLASSES)


def m2_scores(q, row):
    return net(q, "classifier", x=np.concatenate(row["x"]))


def sdgm(q, row, y):
    """The bound of one row with its auxiliary draw `row["a"]`, without the entropy of q(a|x)."""
    x, a = row["seen"], row["a"]
    mean, std = moments = gaussian(net(q, "encoder1", x=x, a=a, y=EYE[y]))
    z = mean + std * row["eps"][0]
    value = density(x, gaussian(net(q, "decoder1", z=z, a=a, y=EYE[y])))
    value += density(a, gaussian(net(q, "auxiliary_prior", z=z, y=EYE[y])))
    return value + prior(moments) + norm.entropy(mean, std).sum() - np.log(CLASSES)


def sdgm_scores(q, row):
    return net(q, "classifier", x=row["seen"], a=row["a"])


def mixture(q, x, label, squared=False, has=None):
    """Components of q(z|X, y) with their weights."""
    parts = {} if label is None else {"y": label}
    moments = [gaussian(net(q, f"encoder{v + 1}", x=each, **parts)) for v, each in enumerate(x)]
    weights = q["weights"] ** 2 if squared else np.exp(log_softmax(q["weights"]))
    if has is not None:
        weights = np.where(has, weights, 0) * weights.sum() / weights[list(has)].sum()
    return moments, weights


def overlap(moments, weights, per_dimension=False):
    """The bound of the entropy in Eq. 5."""
    total = 0.0
    for v, (mean_v, std_v) in enumerate(moments):
        if weights[v] == 0:
            continue
        kept = [(w, m, s) for w, (m, s) in zip(weights, moments, strict=True) if w > 0]
        if per_dimension:
            for d in range(len(mean_v)):
                spread = [np.sqrt(std_v[d] ** 2 + s[d] ** 2) for _, _, s in kept]
                inner = [w * norm.pdf(mean_v[d], m[d], each) for (w, m, _), each in zip(kept, spread, strict=True)]
                total -= weights[v] * np.log(sum(inner))
        else:
            inner = [np.log(w) + multivariate_normal.logpdf(mean_v, m, np.diag(std_v**2 + s**2)) for w, m, s in kept]
            total -= weights[v] * logsumexp(inner)
    return total


def likelihood(q, z, x, label, has, absent=()):
    """Σ_v log p(x_v | y, z[, x_m])."""
    total = 0.0
    for v, each in enumerate(x):
        if not has[v]:
            continue
        parts = {"z": z} | ({} if label is None else {"y": label})
        if absent and v not in absent:
            parts["given"] = np.concatenate([x[m] for m in absent])
        total += density(each, gaussian(net(q, f"decoder{v + 1}", **parts)))
    return total


def multiview(q, x, eps, label, squared=False, per_dimension=False, has=None, absent=()):
    """The bound of Eqs. 5 and 12 without log p(y)."""
    moments, weights = mixture(q, x, label, squared, has)
    value = overlap(moments, weights, per_dimension)
    for weight, each, noise in zip(weights, moments, eps, strict=True):
        if weight > 0:
            z = each[0] + each[1] * noise
            value += weight * (likelihood(q, z, x, label, has or [True] * len(x), absent) + prior(each))
    return value


def mopoe(q, x, eps, label, has):
    """The same with a mixture of products of experts, without log p(y)."""
    moments = [gaussian(net(q, f"encoder{v + 1}", x=each, y=label)) for v, each in enumerate(x)]
    views = range(len(x))
    subsets = [s for size in range(1, len(x) + 1) for s in combinations(views, size)]
    found = []
    for subset, noise in zip(subsets, eps, strict=True):
        if all(has[v] for v in subset):
            precision = sum(moments[v][1] ** -2 for v in subset)
            mean = sum(moments[v][1] ** -2 * moments[v][0] for v in subset) / precision
            std = precision**-0.5
            divergence = 0.5 * np.sum(std**2 + mean**2 - 1 - 2 * np.log(std))
            found.append(likelihood(q, mean + std * noise, x, label, has) - divergence)
    return np.mean(found)


def semi_supervised(rows, value, scores, c):
    """F of Eq. 8, per row: `value(row, y)` is -L(X, y), `scores(row)` those of the classifier."""
    labelled = sum(row["y"] is not None for row in rows)
    total = 0.0
    for row in rows:
        log_q = log_softmax(scores(row))
        if row["y"] is not None:
            total += -value(row, row["y"]) - c * len(rows) / labelled * log_q[row["y"]]
        else:
            total -= sum(np.exp(log_q[y]) * (value(row, y) - log_q[y]) for y in range(CLASSES))
    return total / len(rows)
