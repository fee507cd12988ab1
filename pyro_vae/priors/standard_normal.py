"""The prior of the first paper: N(0, I)."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.wiring import check_sizes

__all__ = ["StandardNormal"]


class StandardNormal(nn.Module):
    """p(z) = N(0, I) on R^latent_dim.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        self.latent_dim = latent_dim
        # Buffers, so that the prior follows the program to its device and precision.
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return dist.Normal(self.loc, self.scale).to_event(1)
