"""No prior at all: what makes of a variational autoencoder a plain one."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.wiring import check_sizes

__all__ = ["Flat"]


class Flat(nn.Module):
    """p(z) = 1 on all of R^latent_dim: improper, so it cannot be sampled.

    With a `Delta` posterior the ELBO is the log likelihood of the reconstruction. A normalized
    posterior takes the KL to minus its entropy, so nothing keeps its loc where others are.
    """

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        self.latent_dim = latent_dim

    def forward(self) -> dist.TorchDistribution:
        """Returns the density, batch shape (), event shape (latent_dim,)."""
        return FlatDistribution(self.latent_dim)


class FlatDistribution(dist.TorchDistribution):
    """The density 1 on R^dim."""

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector

    def __init__(self, dim: int) -> None:
        super().__init__(torch.Size(), torch.Size((dim,)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        raise NotImplementedError(
            "an autoencoder has no prior to sample from: Flat is a density of infinite mass; give "
            "the program a prior such as StandardNormal"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return torch.zeros_like(value[..., 0])
