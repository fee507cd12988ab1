"""Sequences of different lengths in one tensor: NaN stands from the end of each on."""

import math

from torch import Tensor

__all__ = ["sequence_mask"]


def sequence_mask(x: Tensor) -> Tensor:
    """Whether each sequence still lasts at each step, (N, T), for x (N, T, *D).

    A sequence ends after its last step with a number; steps of NaN before that are missing.

    Example:
        >>> sequence_mask(torch.tensor([[1.0, torch.nan, 2.0, torch.nan]]))
        tensor([[ True,  True,  True, False]])
    """
    numbers = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    has_numbers = ~numbers.isnan().all(-1)
    return has_numbers.flip(1).cumsum(1).flip(1) > 0
