"""A Normal posterior whose scales are bounded."""

import pyro.distributions as dist
from torch import Tensor

from .normals import DiagonalNormal

__all__ = ["BoundedNormal"]


class BoundedNormal(DiagonalNormal):
    """A Normal whose log_scale is kept in [-3, 1], as in the paper.

    The weights of a `GatedMLP` start so large that exp(log_scale) would be 1e3 here and there.
    """

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        loc, log_scale = h.unbind(-2)
        return dist.Normal(loc, log_scale.clamp(-3, 1).exp()).to_event(1)
