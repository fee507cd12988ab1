"""Another prior in other units, for latents that are not of the size of 1."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import nn

from pyro_vae.checks import check_positive
from pyro_vae.shapes import LatentDim, latent_shape
from pyro_vae.wiring import Parts

from .standard_normal import StandardNormal

__all__ = ["Rescaled"]


class Rescaled(nn.Module):
    """z = loc + scale u with u ~ another prior, for each channel of z or number of a vector.

        log p(z) = log p_u((z - loc) / scale) - (places of a channel) sum_c log scale_c

    Location and scale are learned with the rest. For the second stage of latent diffusion: an
    autoencoder whose KL hardly counts leaves its latents at any size, but a diffusion that starts
    at N(0, I) is soon learned where they are of size 1. Scales of 1 / 0.18215, fixed, are those of
    Stable Diffusion 1.

    Args:
        latent_dim: The size of z, or its shape.
        prior: That of u, of the same latent_dim; by default N(0, I).
        loc: Where the locations start, such as the mean of the latents.
        scale: Where the scales start, such as their standard deviation.

    Raises:
        ValueError: If the scale is not positive, or the prior is of another size.

    Reference:
        Rombach et al., 2022, https://arxiv.org/abs/2112.10752, appendix D.1

    Example:
        >>> prior = Rescaled((4, 8, 8), prior=GaussianMixture((4, 8, 8)), scale=2.0)
        >>> prior().sample((5,)).shape
        torch.Size([5, 4, 8, 8])
    """

    prior: Any

    def __init__(
        self,
        latent_dim: LatentDim = 20,
        *,
        prior: nn.Module | None = None,
        loc: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_positive(scale=scale)
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)
        self.prior = Parts(self).prior(prior, StandardNormal, latent_dim)
        channels = (self.shape[0], *(1 for _ in self.shape[1:]))
        self.loc = nn.Parameter(torch.full(channels, loc))
        self.log_scale = nn.Parameter(torch.full(channels, math.log(scale)))

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        loc, scale = self.loc.expand(self.shape), self.log_scale.exp().expand(self.shape)
        units = dist.transforms.AffineTransform(loc, scale, event_dim=len(self.shape))
        return dist.TransformedDistribution(self.prior(), [units])
