"""A Normal posterior whose variances are softplus of what the network gives."""

import math

import pyro.distributions as dist
from torch import Tensor
from torch.nn.functional import softplus

from pyro_vae.checks import check_positive
from pyro_vae.shapes import LatentDim

from .normals import DiagonalNormal

__all__ = ["SoftplusNormal"]


class SoftplusNormal(DiagonalNormal):
    """q(z | h) = N(loc, diag(softplus(s + c) + min_variance)), with (loc, s) = h.

    A variance grows no faster than s, and cannot reach 0; `DiagonalNormal` has exp(s)^2. The
    constant c = log(e - 1) makes h = 0 all but N(0, I).

    Args:
        latent_dim: The size of z, or its shape.
        min_variance: The lower bound of each variance.

    Reference:
        Sonderby et al., 2016, https://arxiv.org/abs/1602.02282; the bound is of the paper's code
    """

    def __init__(self, latent_dim: LatentDim = 20, *, min_variance: float = 1e-5) -> None:
        super().__init__(latent_dim)
        check_positive(min_variance=min_variance)
        self.min_variance = min_variance

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *param_shape[1:])."""
        loc, s = h.unbind(-len(self.param_shape))
        variance = softplus(s + math.log(math.e - 1)) + self.min_variance
        return dist.Normal(loc, variance.sqrt()).to_event(len(self.param_shape) - 1)
