"""Likelihoods p(x | z): modules whose `forward(h)` returns a distribution over the data.

`param_shape` is the shape of the `h` that a likelihood needs from its decoder.
"""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["Bernoulli", "ContinuousBernoulli", "Normal"]


class Bernoulli(nn.Module):
    """Pixels that are 0 or 1: p(x | h) = prod_d Bernoulli(x_d; logits h_d).

    Grey levels are outside its support: binarize them, or use `ContinuousBernoulli` or `Normal`.
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = self.param_shape = tuple(x_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.Bernoulli(logits=h).to_event(len(self.x_shape))


class ContinuousBernoulli(nn.Module):
    """Grey levels in [0, 1]: the Bernoulli's kernel with the normalizer that it lacks there.

    Reference:
        Loaiza-Ganem and Cunningham, 2019, https://arxiv.org/abs/1907.06845
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = self.param_shape = tuple(x_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.ContinuousBernoulli(logits=h).to_event(len(self.x_shape))


class Normal(nn.Module):
    """Real data: p(x | h) = N(x; h, scale^2 I) with one scale for all, learned unless given.

    Args:
        x_shape: The shape of one datum.
        scale: The fixed standard deviation; None learns one, from 1 on.
    """

    def __init__(self, x_shape: Sequence[int], *, scale: float | None = None) -> None:
        super().__init__()
        if scale is not None and not scale > 0:
            raise ValueError(f"the scale of a Normal must be positive, but is {scale}")
        self.x_shape = self.param_shape = tuple(x_shape)
        log_scale = torch.tensor(1.0 if scale is None else scale).log()
        self.log_scale = nn.Parameter(log_scale, requires_grad=scale is None)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.Normal(h, self.log_scale.exp()).to_event(len(self.x_shape))
