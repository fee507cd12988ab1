"""Uniform priors of one class out of many, and of its relaxation (Jang et al.; Maddison et al.)."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.checks import check_positive
from pyro_vae.distributions import OneHotDistribution, RelaxedOneHotDistribution
from pyro_vae.shapes import LatentDim, latent_size

__all__ = ["UniformOneHot", "UniformRelaxedOneHot"]


class UniformOneHot(nn.Module):
    """p(z) = 1 / latent_dim on one-hot vectors; goes with the posterior `OneHot`.

    Args:
        latent_dim: The number of classes, which is the size of z.

    Reference:
        Jang et al., 2017, https://arxiv.org/abs/1611.01144
    """

    logits: Tensor

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim = latent_size("UniformOneHot", latent_dim)
        self.register_buffer("logits", torch.zeros(self.latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return OneHotDistribution(logits=self.logits)


class UniformRelaxedOneHot(nn.Module):
    """p(z) on the simplex, which tends to `UniformOneHot` as the temperature falls to 0.

    It goes with the posterior `RelaxedOneHot`.

    Args:
        latent_dim: The number of classes, which is the size of z.
        temperature: Of the relaxation; up to 1 / (latent_dim - 1), the density has its modes at the
            corners.

    Reference:
        Maddison et al., 2017, https://arxiv.org/abs/1611.00712
    """

    logits: Tensor

    def __init__(self, latent_dim: LatentDim = 20, *, temperature: float = 0.5) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.latent_dim = latent_size("UniformRelaxedOneHot", latent_dim)
        self.temperature = temperature
        self.register_buffer("logits", torch.zeros(self.latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return RelaxedOneHotDistribution(self.temperature, self.logits)
