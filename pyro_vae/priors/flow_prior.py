"""Normalizing flows as distributions, and the prior that is one."""

from collections.abc import Sequence
from typing import Self

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.wiring import check_sizes

# Importing zuko turns the validation of all distributions off; this puts it back.
with pyro.settings.context(
    validate_distributions_torch=pyro.settings.get("validate_distributions_torch")
):
    import zuko

__all__ = ["FlowPrior"]


class FlowPrior(nn.Module):
    """z = f(eps), eps ~ N(0, I), with f^-1 a stack of masked autoregressive networks.

    The density of a value, which training asks for, takes one pass; a draw takes latent_dim of
    them. The steps are affine and not splines, which are the identity outside a box: where the
    latents will lie is not known beforehand.

    Args:
        latent_dim: The size of z.
        transforms: The number of steps, each in the reverse order of the one before.
        hidden: Units of each hidden layer of a step's network.

    Reference:
        Papamakarios et al., 2017, https://arxiv.org/abs/1705.07057;
        as a prior: Chen et al., 2017, https://arxiv.org/abs/1611.02731
    """

    def __init__(
        self, latent_dim: int = 20, *, transforms: int = 3, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, transforms=transforms, hidden=min(hidden, default=1))
        self.latent_dim = latent_dim
        self.flow = zuko.flows.MAF(latent_dim, transforms=transforms, hidden_features=hidden)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return FlowDistribution(self.flow())


class FlowDistribution(ZukoToPyro):
    """A flow of zuko as a Pyro distribution that also has `rsample`, `sample` and a support.

    It remembers the log densities of its own draws, which come with them.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector

    @property
    def event_shape(self) -> torch.Size:  # zuko's broadcasts it with the batch of a transform
        return self.dist.base.event_shape

    def __call__(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        z, self.cache[z] = self.dist.rsample_and_log_prob(torch.Size(sample_shape))
        return z

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():  # not remembered: their log densities would have no gradient
            return self.dist.rsample(torch.Size(sample_shape))

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        return type(self)(self.dist.expand(torch.Size(batch_shape)))
