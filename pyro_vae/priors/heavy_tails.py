"""Factorized priors with heavier tails than the Normal's: one for sparse latents, one for outliers.

The latents are independent under both, and neither density is invariant to rotations, so that
single latents have a meaning.
"""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.checks import check_positive
from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["Laplace", "StudentT"]


class Laplace(nn.Module):
    """p(z) = prod_j exp(-|z_j|) / 2, whose peak at 0 favours sparse latents.

    Its KL from a Normal is known in closed form.

    Args:
        latent_dim: The size of z, or its shape.

    Reference:
        Geadah et al., 2024, https://direct.mit.edu/neco/article/36/12/2571/124821
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim, shape = latent_dim, latent_shape(latent_dim)
        self.register_buffer("loc", torch.zeros(shape), persistent=False)
        self.register_buffer("scale", torch.ones(shape), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        return dist.Laplace(self.loc, self.scale).to_event(self.loc.dim())


class StudentT(nn.Module):
    """p(z) = prod_j t(z_j; df), under which a datum far from the others costs little.

    Args:
        latent_dim: The size of z, or its shape.
        df: Degrees of freedom; the variance df / (df - 2) is finite above 2.

    Reference:
        Kim et al., 2023, https://arxiv.org/abs/2312.01133, where z is one multivariate t
    """

    loc: Tensor
    df: Tensor

    def __init__(self, latent_dim: LatentDim = 20, *, df: float = 5.0) -> None:
        super().__init__()
        check_positive(df=df)
        self.latent_dim, shape = latent_dim, latent_shape(latent_dim)
        self.register_buffer("loc", torch.zeros(shape), persistent=False)
        self.register_buffer("df", torch.full(shape, float(df)), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of z."""
        t = dist.StudentT(self.df, self.loc, torch.ones_like(self.loc))
        return t.to_event(self.loc.dim())
