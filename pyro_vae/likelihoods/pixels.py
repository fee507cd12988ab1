"""Likelihoods of single pixels: binary, grey levels, real."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["Bernoulli", "Binomial", "ContinuousBernoulli", "Normal"]


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


class Binomial(nn.Module):
    """Grey levels 0, 1/n, ..., 1 as counts out of n: n x_d ~ Binomial(n, sigmoid(h_d)).

    The natural likelihood of `digits(binarize=None)`, whose pixels count 16 black or white dots,
    and one for 8-bit images with `total_count=255`.
    """

    def __init__(self, x_shape: Sequence[int], *, total_count: int = 16) -> None:
        super().__init__()
        if total_count < 1:
            raise ValueError(f"total_count must be at least 1, but is {total_count}")
        self.x_shape = self.param_shape = tuple(x_shape)
        self.total_count = total_count

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return BinomialLevels(self.total_count, logits=h).to_event(len(self.x_shape))


class _Levels(constraints.Constraint):
    """The multiples of 1 / n in [0, 1]."""

    is_discrete = True

    def __init__(self, total_count: Tensor) -> None:
        self.total_count = total_count

    def check(self, value: Tensor) -> Tensor:
        count = value * self.total_count
        # float32 keeps k / n to 6e-8 of itself.
        whole = (count - count.round()).abs() <= 1e-6 * self.total_count
        return whole & (value >= 0) & (value <= 1)


class BinomialLevels(dist.Binomial):
    """A binomial count over its total."""

    @property
    def support(self) -> _Levels:
        return _Levels(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs) / self.total_count

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return super().sample(torch.Size(sample_shape)) / self.total_count

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, k = self.total_count, value * self.total_count
        # log(1 - sigmoid(h)) = -softplus(h), and log sigmoid(h) = h - softplus(h)
        log_choices = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        return log_choices + k * self.logits - n * nn.functional.softplus(self.logits)


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
