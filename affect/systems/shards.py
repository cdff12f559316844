"""A batch divided over several workers: each holds some of its rows, and what concerns all rows is summed over workers.

The workers are the processes of torch's default group. All of them hold the same parameters and make the same
updates, so a result does not depend on how many there are, up to the order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class Severed(Exception):
    """The connection to another worker broke: that worker is gone, and nothing is wrong with this one's work."""


@dataclass(frozen=True)
class Shard:
    """Which of the workers this one is."""

    rank: int
    size: int
    """How many workers there are."""

    def rows(self, n: int) -> slice:
        """This worker's rows of a batch of `n`: an even, contiguous cut."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def reduce(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Each tensor summed over the workers, in one exchange (the tensors themselves where there is one worker).

        Carries no gradient. Raises `Severed` when another worker is gone."""
        if self.size == 1:
            return tensors
        total = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        try:
            torch.distributed.all_reduce(total)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:  # ValueError: the group has been ended because a worker is gone.
            raise Severed(str(error)) from error
        pieces = total.split([tensor.numel() for tensor in tensors])
        return tuple(piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True))

    def gather(self, values: Tensor, rows: int) -> Tensor:
        """This worker's `values` [K, b, T] in their place among all rows of the batch, [K, rows, T]; gradient flows to
        `values` alone."""
        if self.size == 1:
            return values
        own = self.rows(rows)
        whole = values.new_zeros(len(values), rows, values.shape[-1])
        whole[:, own] = values.detach()
        (whole,) = self.reduce(whole)
        return torch.cat((whole[:, : own.start], values, whole[:, own.stop :]), 1)


ALONE = Shard(0, 1)
