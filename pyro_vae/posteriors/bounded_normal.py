"""A Normal posterior whose scales are bounded."""

import pyro.distributions as dist
from torch import Tensor

from pyro_vae.shapes import LatentDim

from .normals import DiagonalNormal

__all__ = ["BoundedNormal"]


class BoundedNormal(DiagonalNormal):
    """A `DiagonalNormal` whose log_scale is cut off at two bounds.

    For networks whose outputs start large, as those of `GatedMLP` do: without the bounds,
    exp(log_scale) would be 1e3 here and there.

    Args:
        latent_dim: The size of z, or its shape.
        min_log_scale: The lower bound.
        max_log_scale: The upper bound.

    Reference:
        Tomczak and Welling, 2018, https://arxiv.org/abs/1705.07120, whose code has these bounds
    """

    def __init__(
        self,
        latent_dim: LatentDim = 20,
        *,
        min_log_scale: float = -3.0,
        max_log_scale: float = 1.0,
    ) -> None:
        super().__init__(latent_dim)
        if not min_log_scale < max_log_scale:
            raise ValueError(
                f"min_log_scale must be below max_log_scale, but they are {min_log_scale} and "
                f"{max_log_scale}"
            )
        self.min_log_scale, self.max_log_scale = min_log_scale, max_log_scale

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *param_shape[1:])."""
        loc, log_scale = h.unbind(-len(self.param_shape))
        log_scale = log_scale.clamp(self.min_log_scale, self.max_log_scale)
        return dist.Normal(loc, log_scale.exp()).to_event(len(self.param_shape) - 1)
