"""The power spherical posterior (De Cao and Aziz, 2020, https://arxiv.org/abs/2006.04437)."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from pyro_vae.distributions import PowerSphericalDistribution
from pyro_vae.shapes import LatentDim, latent_size

__all__ = ["PowerSpherical"]


class PowerSpherical(nn.Module):
    """q(z | h) ∝ (1 + loc^T z)^concentration on the unit sphere; goes with `UniformSphere`.

    h = (v, c) gives the mode loc, which is the direction of v + (1, 0, ..., 0), and the
    concentration, softplus(c). Unlike von Mises-Fisher's, its draws need no rejection, and its KL
    to the uniform prior is known in closed form.

    Args:
        latent_dim: The size of z, at least 2.

    Reference:
        De Cao and Aziz, 2020, https://arxiv.org/abs/2006.04437;
        Davidson et al., 2018, https://arxiv.org/abs/1804.00891
    """

    pole: Tensor

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim = size = latent_size("PowerSpherical", latent_dim)
        if size < 2:
            raise ValueError(f"a sphere needs a latent_dim of at least 2, but got {latent_dim}")
        self.param_shape = (size + 1,)
        self.register_buffer("pole", torch.eye(size)[0], persistent=False)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., latent_dim + 1) to a distribution over (..., latent_dim)."""
        loc = normalize(h[..., :-1] + self.pole, dim=-1)
        return PowerSphericalDistribution(loc, softplus(h[..., -1]))
