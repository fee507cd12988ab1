"""The order of an epoch: in which its data come, whether they lie in memory or are read."""

import torch
from torch import Tensor

__all__ = ["epoch_order"]


def epoch_order(number: int, *, shuffle: bool, generator: torch.Generator | None = None) -> Tensor:
    """The rows of an epoch, in their order: int64 (number,).

    Args:
        number: How many data there are.
        shuffle: Whether the order is random; else it is that of the data.
        generator: What it is drawn from; None is torch's global generator. The same state of a
            generator gives the same order, so that a training goes on where it was stopped.
    """
    if not shuffle:
        return torch.arange(number)
    device = "cpu" if generator is None else generator.device
    return torch.randperm(number, generator=generator, device=device)
