"""A mixture of Gaussians with learned weights, means and scales."""

import pyro.distributions as dist
import torch
from torch import nn

from pyro_vae.distributions import NormalMixture
from pyro_vae.wiring import check_sizes

__all__ = ["GaussianMixture"]


class GaussianMixture(nn.Module):
    """p(z) = sum_k w_k N(z; loc_k, diag(scale_k)^2), all of it learned.

    The means start at draws from N(0, I), so that components differ. Its draws carry no gradient.

    Args:
        latent_dim: The size of z.
        components: K.

    Reference:
        Jiang et al., 2017, https://arxiv.org/abs/1611.05148
    """

    def __init__(self, latent_dim: int = 20, *, components: int = 10) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, components=components)
        self.latent_dim = latent_dim
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return NormalMixture(self.logits, self.loc, self.log_scale)
