"""Mixtures of diagonal Normals whose density takes two matrix products."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["NormalMixture"]


class NormalMixture(dist.TorchDistribution):
    """p(z) = sum_k softmax(logits)_k N(z; loc_k, diag(exp(log_scale_k))^2).

    The log densities of all components are one matrix product, as for any exponential family,

        log N(z; loc_k, s_k^2) = (z, z^2) . (loc_k / s_k^2, -1 / (2 s_k^2)) - A_k,

    of (..., 2d) and (2d, K). `pyro.distributions.MixtureSameFamily` makes a tensor
    (..., K, d) instead, which takes several times as long for 500 components of 40 dimensions.

    Args:
        logits: The unnormalized log weights, (K,).
        loc: The components' means, (K, *event_shape); d is the size of an event.
        log_scale: The logarithms of their standard deviations, likewise.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.real,
        "log_scale": constraints.real,
    }

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor) -> None:
        self.logits, self.loc, self.log_scale = logits, loc, log_scale
        super().__init__(torch.Size(), loc.shape[1:])

    @property
    def support(self) -> constraints.Constraint:
        """All tensors of the event's shape."""
        return constraints.independent(constraints.real, self.event_dim)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *event_shape), without a gradient."""
        with torch.no_grad():
            k = dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
            return dist.Normal(self.loc[k], self.log_scale[k].exp()).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        """Maps (..., *event_shape) to (...)."""
        if self._validate_args:
            self._validate_sample(value)
        flat = value.reshape(*value.shape[: value.dim() - self.event_dim], -1)
        return (self.logits.log_softmax(-1) + self._components(flat)).logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        """E[z], (*event_shape,)."""
        return torch.tensordot(self.logits.softmax(-1), self.loc, 1)

    def _components(self, z: Tensor) -> Tensor:
        """The log density of each component at z (..., d), (..., K)."""
        # The squares cancel: for means of order 1 and scales of 0.01 float32 is off by 0.15 nats,
        # float64 by 3e-10. Apple's GPUs have no float64.
        wide = z.dtype if z.device.type == "mps" else torch.float64
        loc, log_scale = self.loc.flatten(1), self.log_scale.flatten(1)
        z, loc, log_scale = z.to(wide), loc.to(wide), log_scale.to(wide)
        precision = (-2 * log_scale).exp()
        natural = torch.cat([loc * precision, -precision / 2], -1)
        log_norm = (loc.square() * precision / 2 + log_scale).sum(-1)
        log_norm = log_norm + z.shape[-1] * math.log(2 * math.pi) / 2
        log_p = torch.cat([z, z.square()], -1) @ natural.mT - log_norm
        return log_p.to(self.loc.dtype)
