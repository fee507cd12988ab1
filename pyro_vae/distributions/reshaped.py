"""A distribution over vectors, seen as one over tensors of another shape."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import ReshapeTransform, kl_divergence, register_kl

__all__ = ["Reshaped", "reshaped"]


class Reshaped(dist.TransformedDistribution):
    """z of some shape whose flattened numbers have the base distribution.

    Mean, variance and entropy are the base distribution's, and so is the KL from one to another;
    the general `TransformedDistribution` has none of them. It remembers which draw of the base
    distribution its last draw was made of, as flows know the log densities of their draws.

    Args:
        base_dist: A distribution over vectors (d,).
        event_shape: A shape of d numbers.
    """

    def __init__(self, base_dist: dist.TorchDistribution, event_shape: Sequence[int]) -> None:
        shape = torch.Size(event_shape)
        reshape = ReshapeTransform(base_dist.event_shape, shape, cache_size=1)
        super().__init__(base_dist, [reshape])

    @property
    def mean(self) -> Tensor:
        """E[z], (*batch_shape, *event_shape)."""
        return self.transforms[0](self.base_dist.mean)

    @property
    def variance(self) -> Tensor:
        """The variance of each number, (*batch_shape, *event_shape)."""
        return self.transforms[0](self.base_dist.variance)

    def entropy(self) -> Tensor:
        """The base distribution's, (*batch_shape,)."""
        return self.base_dist.entropy()

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "Reshaped":
        """The same distribution in another batch shape, into which its own expands."""
        return Reshaped(self.base_dist.expand(torch.Size(batch_shape)), self.event_shape)


def reshaped(p: dist.TorchDistribution, shape: tuple[int, ...]) -> dist.TorchDistribution:
    """A distribution over vectors as one over `shape`; itself where that is a vector's."""
    return p if len(shape) == 1 else Reshaped(p, shape)


@register_kl(Reshaped, Reshaped)
def _kl_of_reshaped(q: Reshaped, p: Reshaped) -> Tensor:
    if q.event_shape != p.event_shape:
        raise NotImplementedError
    return kl_divergence(q.base_dist, p.base_dist)
