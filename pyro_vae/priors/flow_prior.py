"""A prior that is a normalizing flow."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
from torch import nn

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import FlowDistribution, reshaped, zuko
from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["FlowPrior"]


class FlowPrior(nn.Module):
    """z = f(eps), eps ~ N(0, I), with f^-1 a stack of masked autoregressive networks.

    The density of a value, which training asks for, takes one pass; a draw takes one for each
    number of z. The steps are affine and not splines: a spline bends space within a box alone,
    and where the latents will lie is not known beforehand.

    Args:
        latent_dim: The size of z, or its shape.
        transforms: The number of steps, each in the reverse order of the one before.
        hidden: Units of each hidden layer of a step's network.

    Reference:
        Papamakarios et al., 2017, https://arxiv.org/abs/1705.07057;
        as a prior: Chen et al., 2017, https://arxiv.org/abs/1611.02731
    """

    def __init__(
        self, latent_dim: LatentDim = 20, *, transforms: int = 3, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        check_sizes(transforms=transforms, hidden=min(hidden, default=1))
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)
        size = math.prod(self.shape)
        self.flow = zuko.flows.MAF(size, transforms=transforms, hidden_features=hidden)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        return reshaped(FlowDistribution(self.flow()), self.shape)
