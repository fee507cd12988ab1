"""A mixture of Gaussians with learned weights, means and scales."""

import pyro.distributions as dist
import torch
from torch import nn

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import NormalMixture
from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["GaussianMixture"]


class GaussianMixture(nn.Module):
    """p(z) = sum_k w_k N(z; loc_k, diag(scale_k)^2), all of it learned.

    The means start at draws from N(0, I), so that components differ. Its draws carry no gradient.

    Args:
        latent_dim: The size of z, or its shape.
        components: K.

    Reference:
        Jiang et al., 2017, https://arxiv.org/abs/1611.05148
    """

    def __init__(self, latent_dim: LatentDim = 20, *, components: int = 10) -> None:
        super().__init__()
        check_sizes(components=components)
        self.latent_dim, shape = latent_dim, latent_shape(latent_dim)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, *shape))
        self.log_scale = nn.Parameter(torch.zeros(components, *shape))

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        return NormalMixture(self.logits, self.loc, self.log_scale)
