"""Numbers of mean 0 and standard deviation 1, by those of the training part."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .split import Split

__all__ = ["mean_and_scale", "standardized"]


def mean_and_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what is there, in float64, broadcastable to x.

    Each column of a table (N, D), each feature of sequences (N, T, D) and each channel of pictures
    (N, C, H, W) has its own. What holds one value alone gets the scale 1.
    """
    dims = {3: (0, 1), 4: (0, 2, 3)}.get(x.dim(), (0,))
    mean = x.double().nanmean(dims, keepdim=True)
    scale = (x.double() - mean).square().nanmean(dims, keepdim=True).sqrt()
    # Rounding of the mean leaves a constant of size 1e4 with a deviation of some 1e-12.
    constant = scale <= 1e-12 * mean.abs()
    return mean, torch.where(constant, 1.0, scale)


def standardized(parts: Sequence[Split]) -> list[Split]:
    """The parts, training part first, less its mean and divided by its standard deviation."""
    mean, scale = mean_and_scale(parts[0].x)
    return [replace(part, x=((part.x - mean) / scale).float()) for part in parts]
