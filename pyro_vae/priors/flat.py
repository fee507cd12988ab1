"""The improper prior of density 1, with which a variational autoencoder is a plain one."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["Flat"]


class Flat(nn.Module):
    """p(z) = 1 for every z: improper, so it cannot be sampled.

    With a `Delta` posterior the ELBO is the log likelihood of the reconstruction. With
    another posterior the KL is minus its entropy, so that no term holds the locs of different data
    together.

    Args:
        latent_dim: The size of z, or its shape.
    """

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)

    def forward(self) -> dist.TorchDistribution:
        """Returns the density, batch shape (), event shape that of z."""
        return FlatDistribution(self.shape)


class FlatDistribution(dist.TorchDistribution):
    """The density 1 on all tensors of a shape."""

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(torch.Size(), torch.Size(event_shape))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        raise NotImplementedError(
            "an autoencoder has no prior to sample from: Flat is a density of infinite mass; give "
            "the program a prior such as StandardNormal"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return torch.zeros_like(value).sum([*range(-self.event_dim, 0)])
