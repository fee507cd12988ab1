"""Likelihoods of data between 0 and 1: black or white, and any grey."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

__all__ = ["Bernoulli", "Beta", "ContinuousBernoulli"]


class Bernoulli(nn.Module):
    """Pixels that are 0 or 1: p(x | h) = prod_d Bernoulli(x_d; logits h_d + logit(mean_d)).

    Grey levels are outside its support: binarize them, or use `ContinuousBernoulli` or `Normal`.

    Args:
        x_shape: The shape of one datum.
        mean: The mean of the data, (*x_shape), at which h = 0 starts; None for 1/2. It is clamped
            to [1/1000, 999/1000]. Without it a decoder must first learn how dark each pixel is: its
            biases move by about the learning rate a step, so that a logit of -7 takes thousands of
            steps, and meanwhile hidden units serve as biases.

    Raises:
        ValueError: If `mean` is not of this shape, or not in [0, 1].
    """

    logit_mean: Tensor | None

    def __init__(self, x_shape: Sequence[int], mean: Tensor | None = None) -> None:
        super().__init__()
        self.x_shape = self.param_shape = tuple(x_shape)
        logit_mean = None if mean is None else logit_of_mean(self.x_shape, mean)
        self.register_buffer("logit_mean", logit_mean)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        logits = h if self.logit_mean is None else h + self.logit_mean
        return dist.Bernoulli(logits=logits).to_event(len(self.x_shape))

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Takes the mean of a saved likelihood, whose text does not give it."""
        if self.logit_mean is None and f"{prefix}logit_mean" in state:
            self.logit_mean = torch.empty_like(state[f"{prefix}logit_mean"])
        super()._load_from_state_dict(state, prefix, *args)


class ContinuousBernoulli(nn.Module):
    """Grey levels in [0, 1]: the Bernoulli's formula, normalized on that interval.

        p(x | h) = prod_d h_d exp(h_d x_d) / (exp(h_d) - 1)

    Reference:
        Loaiza-Ganem and Cunningham, 2019, https://arxiv.org/abs/1907.06845
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = self.param_shape = tuple(x_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return Exponential01(logits=h).to_event(len(self.x_shape))


class Beta(nn.Module):
    """Grey levels inside (0, 1): x_d ~ Beta(softplus(a_d), softplus(b_d)), (a, b) = h.

    0 and 1 are outside its support, as its density is 0 or infinite there: shrink 8-bit pixels
    first, as in (255 x + 1/2) / 256, or use `ContinuousBernoulli`.
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = tuple(x_shape)
        self.param_shape = (2, *self.x_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2, *x_shape) to a distribution over x (..., *x_shape)."""
        a, b = softplus(h).unbind(-1 - len(self.x_shape))
        return OpenBeta(a, b).to_event(len(self.x_shape))


def logit_of_mean(x_shape: tuple[int, ...], mean: Tensor) -> Tensor:
    """The logits of the mean of data in [0, 1]."""
    if mean.shape != x_shape or not ((0 <= mean) & (mean <= 1)).all():
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} and lies in [{mean.min():g}, {mean.max():g}], but "
            f"must have the data's shape, {x_shape}, and lie in [0, 1]"
        )
    return mean.clamp(1e-3, 1 - 1e-3).logit()


class Exponential01(dist.ContinuousBernoulli):
    """A continuous Bernoulli that is exact for any logits.

    torch clamps its probability to the dtype's eps, so that in float32 its density, mean and draws
    stand still beyond logits of 16, where the mean is 0.94 and a white pixel is yet to come.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        h, size, is_small = self._logits()
        large = size / 2 + (-torch.expm1(-size) / size).log()
        log_sinhc = torch.where(is_small, h**2 / 24 - h**4 / 2880, large)  # of h / 2
        return h * (value - 0.5) - log_sinhc

    @property
    def mean(self) -> Tensor:
        h, size, is_small = self._logits()
        large = h.sign() * (0.5 / torch.tanh(size / 2) - 1 / size)
        return 0.5 + torch.where(is_small, h / 12 - h**3 / 720, large)

    def icdf(self, value: Tensor) -> Tensor:
        h, size, is_small = self._logits()
        falling = torch.where(h < 0, value, 1 - value)
        low = -torch.log1p(falling * torch.expm1(-size)) / size
        low = torch.where(is_small, falling, low).clamp(0, 1)
        return torch.where(h < 0, low, 1 - low)

    def _logits(self) -> tuple[Tensor, Tensor, Tensor]:
        """The logits h, |h|, and where h is too small to divide by: there |h| is replaced by 1."""
        is_small = self.logits.abs() < 0.01  # the series to the fourth order is exact to 1e-16
        return self.logits, torch.where(is_small, 1.0, self.logits.abs()), is_small


class OpenBeta(dist.Beta):
    """A Beta whose support and draws leave out 0 and 1."""

    @property
    def support(self) -> constraints.Constraint:
        return _Inside()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = super().rsample(torch.Size(sample_shape))
        info = torch.finfo(draw.dtype)
        return draw.clamp(info.tiny, 1 - info.eps)


class _Inside(constraints.Constraint):
    """The numbers between 0 and 1, without both."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)
