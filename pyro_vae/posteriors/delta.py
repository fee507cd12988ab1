"""The posterior of an autoencoder: a point."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["Delta"]


class Delta(nn.Module):
    """q(z | h) has all its mass at h; its density there counts as 1.

    With the prior `Flat` a `VAE` is an autoencoder; with another one it is an autoencoder with the
    penalty -log p(z). The ELBO is then no bound on the evidence, as a point has no density.

    Args:
        latent_dim: The size of z, or its shape.
    """

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim, self.param_shape = latent_dim, latent_shape(latent_dim)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z of that shape."""
        return dist.Delta(h, event_dim=len(self.param_shape))
