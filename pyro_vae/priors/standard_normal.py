"""The prior of the first paper: N(0, I)."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["StandardNormal"]


class StandardNormal(nn.Module):
    """p(z) = N(0, I).

    Args:
        latent_dim: The size of z, or its shape, such as (4, 32, 32).

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim, shape = latent_dim, latent_shape(latent_dim)
        # Buffers, so that the prior follows the program to its device and precision.
        self.register_buffer("loc", torch.zeros(shape), persistent=False)
        self.register_buffer("scale", torch.ones(shape), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        return dist.Normal(self.loc, self.scale).to_event(self.loc.dim())
