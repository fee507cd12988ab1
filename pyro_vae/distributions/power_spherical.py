"""The power spherical distribution (De Cao and Aziz, 2020, https://arxiv.org/abs/2006.04437)."""

import math
from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, register_kl
from torch.nn.functional import normalize

from .uniform_sphere import UniformSphereDistribution

__all__ = ["PowerSphericalDistribution"]


class PowerSphericalDistribution(dist.TorchDistribution):
    """p(z) = (1 + loc^T z)^concentration / C, per area of the sphere.

    With t = loc^T z, (1 + t) / 2 ~ Beta(alpha, beta), beta = (d - 1) / 2, alpha = beta +
    concentration, and C = 2^(alpha + beta) pi^beta Gamma(alpha) / Gamma(alpha + beta).

    Args:
        loc: The mode, of length 1, (..., d).
        concentration: (...); 0 is uniform.
    """

    arg_constraints = {"loc": dist.constraints.sphere, "concentration": constraints.nonnegative}
    support = dist.constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.loc, self.concentration = loc, concentration
        self.beta = torch.full_like(concentration, (loc.shape[-1] - 1) / 2)
        self.alpha = self.beta + concentration
        super().__init__(concentration.shape, loc.shape[-1:])

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """The same distribution in another batch shape, into which its own expands."""
        loc = self.loc.expand(*batch_shape, *self.event_shape)
        return type(self)(loc, self.concentration.expand(torch.Size(batch_shape)))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws vectors of length 1, (*sample_shape, *batch_shape, d), with a gradient."""
        b = dist.Beta(self.alpha, self.beta).rsample(torch.Size(sample_shape)).unsqueeze(-1)
        eps = torch.finfo(b.dtype).eps
        b = b.clamp(eps, 1 - eps)  # at loc itself the gradient of the square root is infinite
        # A uniform direction in the plane across loc.
        v = torch.randn_like(self.loc.expand(self.shape(sample_shape)))
        v = normalize(v - (v * self.loc).sum(-1, keepdim=True) * self.loc, dim=-1)
        return normalize((2 * b - 1) * self.loc + 2 * (b * (1 - b)).sqrt() * v, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Maps vectors of length 1, (..., d), to (...)."""
        if self._validate_args:
            self._validate_sample(value)
        # Rounding may put t below -1.
        t = (self.loc * value).sum(-1).clamp(min=torch.finfo(value.dtype).eps - 1)
        return self.concentration * torch.log1p(t) - self._log_norm()

    def entropy(self) -> Tensor:
        """The entropy on the sphere, (*batch_shape,), in nats."""
        log_1_plus_t = math.log(2) + torch.digamma(self.alpha)
        log_1_plus_t = log_1_plus_t - torch.digamma(self.alpha + self.beta)
        return self._log_norm() - self.concentration * log_1_plus_t

    def _log_norm(self) -> Tensor:
        total = self.alpha + self.beta
        log_norm = total * math.log(2) + self.beta * math.log(math.pi)
        return log_norm + torch.lgamma(self.alpha) - torch.lgamma(total)


@register_kl(PowerSphericalDistribution, UniformSphereDistribution)
def _kl_from_power_spherical(q: PowerSphericalDistribution, p: UniformSphereDistribution) -> Tensor:
    return p.log_area - q.entropy()
