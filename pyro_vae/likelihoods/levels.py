"""Likelihoods of grey levels 0, 1/n, ..., 1: a count of n, or n + 1 levels without an order."""

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .classes import Numbered

__all__ = ["Binomial", "Categorical"]


class Binomial(nn.Module):
    """Grey levels 0, 1/n, ..., 1 as counts out of n: n x_d ~ Binomial(n, sigmoid(h_d)).

    The natural likelihood of `digits(binarize=None)`, whose pixels count 16 black or white dots.
    """

    def __init__(self, x_shape: Sequence[int], *, total_count: int = 16) -> None:
        super().__init__()
        if total_count < 1:
            raise ValueError(f"total_count must be at least 1, but is {total_count}")
        self.x_shape = self.param_shape = tuple(x_shape)
        self.total_count = total_count

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        count = dist.Binomial(self.total_count, logits=h)
        return Levels(count, self.total_count).to_event(len(self.x_shape))


class Categorical(nn.Module):
    """Grey levels with a probability for each: p(x_d = k / (levels - 1)) = softmax(h_d)_k.

    It can be any distribution, but has to learn that neighbouring levels are alike, and h is
    `levels` times as large as x; `DiscretizedLogistic` needs two numbers a pixel.

    Reference:
        van den Oord et al., 2016, https://arxiv.org/abs/1601.06759
    """

    def __init__(self, x_shape: Sequence[int], *, levels: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels must be at least 2, but is {levels}")
        self.x_shape = tuple(x_shape)
        self.param_shape = (levels, *self.x_shape)
        self.levels = levels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., levels, *x_shape) to a distribution over x (..., *x_shape)."""
        number = Numbered(logits=h.movedim(-1 - len(self.x_shape), -1))
        return Levels(number, self.levels - 1).to_event(len(self.x_shape))


class Levels(dist.TorchDistribution):
    """The distribution of k / n, for k distributed over 0, ..., n.

    Args:
        base_dist: The distribution of k.
        top: n.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, base_dist: dist.TorchDistribution, top: int) -> None:
        self.base_dist, self.top = base_dist, top
        super().__init__(base_dist.batch_shape, base_dist.event_shape)

    @property
    def support(self) -> constraints.Constraint:
        levels = _Multiples(self.top)
        return constraints.independent(levels, self.event_dim) if self.event_dim else levels

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean / self.top

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance / self.top**2

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "Levels":
        return Levels(self.base_dist.expand(torch.Size(batch_shape)), self.top)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.sample(torch.Size(sample_shape)) / self.top

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self.base_dist.log_prob((value * self.top).round())


class _Multiples(constraints.Constraint):
    """The multiples of 1 / n in [0, 1]."""

    is_discrete = True

    def __init__(self, top: int) -> None:
        self.top = top

    def check(self, value: Tensor) -> Tensor:
        count = value * self.top
        # float32 keeps k / n to 6e-8 of itself.
        whole = (count - count.round()).abs() <= 1e-6 * self.top
        return whole & (value >= 0) & (value <= 1)
