"""Distributions over one class out of many, and its relaxation (Jang et al.; Maddison et al.)."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["OneHotDistribution", "RelaxedOneHotDistribution"]


class OneHotDistribution(dist.OneHotCategorical):
    """Pyro's one-hot distribution, with draws that a graph can capture.

    Those of Pyro call `one_hot`, which looks at the numbers that it is given.
    """

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws one-hot vectors, (*sample_shape, *batch_shape, n)."""
        with torch.no_grad():
            k = dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
            n = self.event_shape[0]
            return torch.eye(n, dtype=self.logits.dtype, device=self.logits.device)[k]


class RelaxedOneHotDistribution(dist.TorchDistribution):
    """z = softmax((logits + Gumbel noise) / t), for n classes.

        p(z) = (n - 1)! t^(n-1) prod_k (a_k z_k^(-t-1)) / (sum_k a_k z_k^-t)^n,    a = exp(logits)

    Draws have no zeros, where the density is infinite; those of
    `pyro.distributions.RelaxedOneHotCategorical` have some in float32 at temperatures of 0.1.

    Args:
        temperature: t.
        logits: (..., n).

    Reference:
        Jang et al., 2017, https://arxiv.org/abs/1611.01144, equation 15
    """

    arg_constraints = {"logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, temperature: float, logits: Tensor) -> None:
        self.temperature, self.logits = temperature, logits
        super().__init__(logits.shape[:-1], logits.shape[-1:])

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, n), with a gradient."""
        score = dist.Gumbel(self.logits, 1.0).rsample(torch.Size(sample_shape))
        z = (score / self.temperature).softmax(-1)
        return z.clamp(min=torch.finfo(z.dtype).tiny)  # the smallest number with full precision

    def log_prob(self, value: Tensor) -> Tensor:
        """Maps (..., n) on the simplex to (...)."""
        if self._validate_args:
            self._validate_sample(value)
        n, log_z = value.shape[-1], value.log()
        score = self.logits - self.temperature * log_z
        log_norm = math.lgamma(n) + (n - 1) * math.log(self.temperature)
        return score.log_softmax(-1).sum(-1) - log_z.sum(-1) + log_norm
