"""The σ-VAE's optimal scale (Rybkin et al., 2021, https://arxiv.org/abs/2006.13202)."""

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["OptimalNormal"]


class OptimalNormal(nn.Module):
    """N(x; h, scale^2 I) with the one scale that fits the batch best, computed and not learned.

        scale^2 = mean over batch and pixels of (x - h)^2        in training mode
        scale^2 = its running mean over training batches         in evaluation mode

    In training mode the scale maximizes the sum of log p(x | h) over the batch, whose gradient is
    that of -(N D / 2) log(mean squared error). Then log p(x | h) is not the density of a datum, as
    the datum's own error is in the scale: values are too high, the more so the smaller the batch,
    and all particles of an estimator such as IWAE share one scale. In evaluation mode the scale is
    fixed, as the statistics of batch normalization are, and bounds are bounds. Draws have the
    running scale in both modes. `Normal` learns its scale by gradients instead.

    Args:
        x_shape: The shape of one datum.
        momentum: The weight of a new batch in the running mean, which begins at 1.
        min_scale: A lower bound of the scale, for data that h can equal exactly.

    Reference:
        Rybkin et al., 2021, equation 7, https://arxiv.org/abs/2006.13202
    """

    mean_square: Tensor

    def __init__(
        self, x_shape: Sequence[int], *, momentum: float = 0.1, min_scale: float = 1e-3
    ) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, but is {momentum}")
        if not 0 < min_scale < math.inf:
            raise ValueError(f"min_scale must be positive and finite, but is {min_scale}")
        self.x_shape = self.param_shape = tuple(x_shape)
        self.momentum, self.min_scale = momentum, min_scale
        self.register_buffer("mean_square", torch.ones(()))

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return FittedNormal(h, self, fits=self.training)

    def fit(self, error: Tensor) -> Tensor:
        """The scale of a batch of errors x - h, a scalar, which the running mean takes up."""
        # A gradient through the scale would vanish in the sum over the batch, where it is optimal.
        mean_square = error.detach().square().mean().clamp(min=self.min_scale**2)
        self.mean_square.lerp_(mean_square.to(self.mean_square.dtype), self.momentum)
        return mean_square.sqrt()


class FittedNormal(dist.TorchDistribution):
    """A Normal whose scale is fitted to the value at which its log density is asked for."""

    arg_constraints = {"loc": constraints.real}
    has_rsample = True

    def __init__(self, loc: Tensor, likelihood: OptimalNormal, *, fits: bool) -> None:
        self.loc, self.likelihood, self.fits = loc, likelihood, fits
        split = loc.dim() - len(likelihood.x_shape)
        super().__init__(loc.shape[:split], loc.shape[split:])

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def mean(self) -> Tensor:
        return self.loc

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "FittedNormal":
        loc = self.loc.expand(*batch_shape, *self.event_shape)
        return FittedNormal(loc, self.likelihood, fits=self.fits)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        scale = self.likelihood.mean_square.sqrt()
        return dist.Normal(self.loc, scale).rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        still = self.likelihood.mean_square.sqrt
        scale = self.likelihood.fit(value - self.loc) if self.fits else still()
        return dist.Normal(self.loc, scale).to_event(self.event_dim).log_prob(value)
