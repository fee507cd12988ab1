"""The posterior of an autoencoder: a point."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.wiring import check_sizes

__all__ = ["Delta"]


class Delta(nn.Module):
    """q(z | h) has all its mass at h; its density there counts as 1.

    With the prior `Flat` this makes an autoencoder, with another one the regularized one whose
    penalty is -log p(z). The ELBO is then no bound on the evidence, as Delta is no density.
    """

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        self.latent_dim = latent_dim
        self.param_shape = (latent_dim,)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., latent_dim) to a distribution over (..., latent_dim)."""
        return dist.Delta(h, event_dim=1)
