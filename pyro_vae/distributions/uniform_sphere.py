"""The uniform distribution on the unit sphere."""

import math
from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["UniformSphereDistribution"]


class UniformSphereDistribution(dist.TorchDistribution):
    """The uniform distribution on the unit sphere of R^dim, which has dim - 1 dimensions.

    Args:
        dim: The number of dimensions of the space around the sphere.
        zero: Zeros in the batch shape, whose dtype and device the draws have.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = dist.constraints.sphere
    has_rsample = True

    def __init__(self, dim: int, zero: Tensor) -> None:
        self.zero = zero
        super().__init__(zero.shape, torch.Size((dim,)))

    @property
    def log_area(self) -> float:
        """log(2 pi^(dim/2) / Gamma(dim/2))."""
        half = self.event_shape[0] / 2
        return math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """The same distribution in another batch shape, into which its own expands."""
        return type(self)(self.event_shape[0], self.zero.expand(torch.Size(batch_shape)))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws vectors of length 1, (*sample_shape, *batch_shape, dim), with a gradient."""
        z = torch.randn_like(self.zero.unsqueeze(-1).expand(self.shape(sample_shape)))
        return nn.functional.normalize(z, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Maps vectors of length 1, (..., dim), to (...)."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.zeros_like(value[..., 0]) + self.zero - self.log_area
