"""The uniform distribution on the unit sphere, for hyperspherical latents."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.distributions import UniformSphereDistribution
from pyro_vae.shapes import LatentDim, latent_size

__all__ = ["UniformSphere"]


class UniformSphere(nn.Module):
    """p(z) = 1 / area on the vectors of length 1; goes with the posterior `PowerSpherical`.

    Its density is per area of the sphere, so that KLs exist from distributions on the sphere alone.

    Args:
        latent_dim: The size of z, at least 2.

    Reference:
        Davidson et al., 2018, https://arxiv.org/abs/1804.00891
    """

    zero: Tensor

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim = latent_size("UniformSphere", latent_dim)
        if self.latent_dim < 2:
            raise ValueError(f"a sphere needs a latent_dim of at least 2, but got {latent_dim}")
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return UniformSphereDistribution(self.latent_dim, self.zero)
