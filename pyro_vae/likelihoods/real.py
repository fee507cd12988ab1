"""Likelihoods of real data: the decoder gives the location; the scale is fixed, learned or given.

`LogNormal` is for positive data.
"""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["HeteroscedasticNormal", "Laplace", "LogNormal", "Normal", "StudentT"]


class _Scaled(nn.Module):
    """A location for each pixel and a scale that does not depend on z."""

    log_scale: Tensor

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        scale: float | None = None,
        initial_scale: float = 1.0,
        per_pixel: bool = False,
    ) -> None:
        super().__init__()
        name, start = type(self).__name__, initial_scale if scale is None else scale
        if not 0 < start < math.inf:
            raise ValueError(f"the scale of a {name} must be positive and finite, but is {start}")
        if scale is not None and per_pixel:
            raise ValueError(
                f"a {name} cannot both fix its scale at {scale} and learn one per pixel; leave "
                "out scale or per_pixel"
            )
        self.x_shape = self.param_shape = tuple(x_shape)
        log_scale = torch.full(self.x_shape if per_pixel else (), math.log(start))
        if scale is None:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)


class Normal(_Scaled):
    """Real data: p(x | h) = prod_d N(x_d; h_d, scale^2).

    A learned scale sets the balance of reconstruction and KL.

    Args:
        x_shape: The shape of one datum.
        scale: The fixed standard deviation; None learns it.
        initial_scale: Where a learned one starts. Adam moves its logarithm by about the learning
            rate a step, so that from 1 to the scale of pixels in [0, 1] takes thousands of steps.
        per_pixel: Whether each pixel learns a standard deviation of its own.
    """

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.Normal(h, self.log_scale.exp()).to_event(len(self.x_shape))


class Laplace(_Scaled):
    """Real data with outliers: p(x | h) = prod_d exp(-|x_d - h_d| / scale) / (2 scale).

    Its reconstruction error is the absolute one, so that h is a median, and edges are sharper.

    Args:
        x_shape: The shape of one datum.
        scale: The fixed scale; None learns it.
        initial_scale: Where a learned one starts.
        per_pixel: Whether each pixel learns a scale of its own.
    """

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.Laplace(h, self.log_scale.exp()).to_event(len(self.x_shape))


class StudentT(_Scaled):
    """Real data with far outliers: p(x | h) = prod_d t_df((x_d - h_d) / scale) / scale.

    Args:
        x_shape: The shape of one datum.
        df: The degrees of freedom, above 1; the tails fall off as |x|^-(df + 1).
        scale: The fixed scale; None learns it.
        initial_scale: Where a learned one starts.
        per_pixel: Whether each pixel learns a scale of its own.

    Reference:
        Takahashi et al., 2018, https://doi.org/10.24963/ijcai.2018/374
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        df: float = 4.0,
        scale: float | None = None,
        initial_scale: float = 1.0,
        per_pixel: bool = False,
    ) -> None:
        super().__init__(x_shape, scale=scale, initial_scale=initial_scale, per_pixel=per_pixel)
        if not 1 < df < math.inf:
            raise ValueError(f"df must be above 1 and finite, but is {df}; use Normal for infinity")
        self.df = df

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.StudentT(self.df, h, self.log_scale.exp()).to_event(len(self.x_shape))


class LogNormal(_Scaled):
    """Positive data: log x_d ~ N(h_d, scale^2); zeros are outside its support.

    Args:
        x_shape: The shape of one datum.
        scale: The fixed standard deviation of log x; None learns it.
        initial_scale: Where a learned one starts.
        per_pixel: Whether each pixel learns a standard deviation of its own.
    """

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.LogNormal(h, self.log_scale.exp()).to_event(len(self.x_shape))


class HeteroscedasticNormal(nn.Module):
    """Real data, a scale for each pixel of each datum: N(x; loc, scale^2), (loc, log_scale) = h.

    Args:
        x_shape: The shape of one datum.
        min_scale: The scale is this plus exp(log_scale). Without it the likelihood has no upper
            bound, as the scale of a datum with loc = x can go to 0; 1e-3 is a quarter of a level of
            an 8-bit pixel.

    Reference:
        Mattei and Frellsen, 2018, https://arxiv.org/abs/1802.04826, on the missing bound
    """

    def __init__(self, x_shape: Sequence[int], *, min_scale: float = 1e-3) -> None:
        super().__init__()
        if not 0 < min_scale < math.inf:
            raise ValueError(f"min_scale must be positive and finite, but is {min_scale}")
        self.x_shape = tuple(x_shape)
        self.param_shape = (2, *self.x_shape)
        self.min_scale = min_scale

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2, *x_shape) to a distribution over x (..., *x_shape)."""
        loc, log_scale = h.unbind(-1 - len(self.x_shape))
        scale = self.min_scale + log_scale.exp()
        return dist.Normal(loc, scale).to_event(len(self.x_shape))
