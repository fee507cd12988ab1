"""Sequences of different lengths in batches: how wide each batch is, and which data it holds.

A batch is cut to its longest sequence, up to the next of a few widths, so that little of it is
empty. As a training step is one graph for each shape, there are few widths.
"""

import torch
from torch import Tensor

from .epoch_order import epoch_order

__all__ = ["lengths_of", "shuffled_by_width", "widths_of"]

_STEP = 8
_MOST_WIDTHS = 6  # with a last batch of fewer data, 7 graphs of a training step


def lengths_of(x: Tensor) -> Tensor:
    """The number of steps of each sequence up to its last token, (N,); -1 stands behind it."""
    return ((x >= 0) * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1)


def widths_of(x: Tensor) -> Tensor:
    """The width to which a batch is cut by each of its sequences, (N,), for x (N, T).

    The widths are multiples of 8, and T. Of more than six, those are given up, one after the other,
    without which least is empty.
    """
    lengths = lengths_of(x).cpu()
    widths = [*range(_STEP, x.shape[1], _STEP), x.shape[1]]
    counts = torch.bincount(torch.bucketize(lengths, torch.tensor(widths)), minlength=len(widths))
    numbers = counts.tolist()
    while len(widths) > _MOST_WIDTHS:
        # Without a width its sequences take the next one.
        costs = [n * (widths[i + 1] - widths[i]) for i, n in enumerate(numbers[:-1])]
        least = costs.index(min(costs))
        numbers[least : least + 2] = [numbers[least] + numbers[least + 1]]
        del widths[least]
    edges = torch.tensor(widths)
    return edges[torch.bucketize(lengths, edges)]


def shuffled_by_width(
    widths: Tensor, size: int, *, generator: torch.Generator | None = None
) -> list[Tensor]:
    """The rows of each batch of an epoch: rows of one width as far as they go, in random order.

    Each row comes once. What is left over when all batches are full is drawn from all rows and
    comes last.

    Args:
        widths: That of each row, (N,).
        size: Rows in a batch.
        generator: What the order is drawn from; None is torch's global generator.
    """
    order = epoch_order(len(widths), shuffle=True, generator=generator).cpu()
    full = len(widths) // size
    rows, left = order[: full * size], order[full * size :]
    batches = rows[widths[rows].argsort(stable=True)].view(full, size)
    turn = epoch_order(full, shuffle=True, generator=generator).cpu()
    return [*batches[turn], *([left] if len(left) else [])]
