"""A Normal posterior whose location and scale are softly bounded, as in NVAE."""

import math

import pyro.distributions as dist
from torch import Tensor

from pyro_vae.checks import check_positive
from pyro_vae.shapes import LatentDim

from .normals import DiagonalNormal

__all__ = ["SoftBoundedNormal"]


class SoftBoundedNormal(DiagonalNormal):
    """q(z | h) = N(s(loc), diag(exp(s(log_scale)) + min_scale)^2), where (loc, log_scale) = h.

    s(v) = bound tanh(v / bound) is v near 0 and stays between -bound and bound. Unlike the cut of
    `BoundedNormal` it has a gradient everywhere.

    Where a prior p(z | ...) is one too, q = part(h_p + h_q) is a residual of p = part(h_p): its
    loc is that of p plus one of its own, its scale that of p times one of its own, and h_q = 0
    makes it p. That is the posterior of `NVAE`.

    Args:
        latent_dim: The size of z, or its shape.
        bound: That of the location, and of the logarithm of the scale.
        min_scale: What is added to the scale.

    Reference:
        Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, section 3.2
    """

    def __init__(
        self, latent_dim: LatentDim = 20, *, bound: float = 5.0, min_scale: float = 0.01
    ) -> None:
        super().__init__(latent_dim)
        check_positive(bound=bound)
        if not 0 <= min_scale < math.inf:
            raise ValueError(f"min_scale must be at least 0 and finite, but is {min_scale}")
        self.bound, self.min_scale = bound, min_scale

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *param_shape[1:])."""
        h = self.bound * (h / self.bound).tanh()
        loc, log_scale = h.unbind(-len(self.param_shape))
        scale = log_scale.exp() + self.min_scale
        return dist.Normal(loc, scale).to_event(len(self.param_shape) - 1)
