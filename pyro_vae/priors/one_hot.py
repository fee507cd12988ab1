"""Uniform priors of one class out of many, and of its relaxation (Jang et al.; Maddison et al.)."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.wiring import check_positive, check_sizes

__all__ = ["UniformOneHot", "UniformRelaxedOneHot"]


class UniformOneHot(nn.Module):
    """p(z) = 1 / latent_dim on one-hot vectors; goes with the posterior `OneHot`."""

    logits: Tensor

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        self.latent_dim = latent_dim
        self.register_buffer("logits", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return OneHotDistribution(logits=self.logits)


class UniformRelaxedOneHot(nn.Module):
    """p(z) on the simplex, tending to `UniformOneHot` as the temperature falls to 0.

    Args:
        latent_dim: The size of z.
        temperature: Up to 1 / (latent_dim - 1) the density has no mode in the interior.

    Reference:
        Maddison et al., 2017, https://arxiv.org/abs/1611.00712
    """

    logits: Tensor

    def __init__(self, latent_dim: int = 20, *, temperature: float = 0.5) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        check_positive(temperature=temperature)
        self.latent_dim, self.temperature = latent_dim, temperature
        self.register_buffer("logits", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape (latent_dim,)."""
        return RelaxedOneHotDistribution(self.temperature, self.logits)


class OneHotDistribution(dist.OneHotCategorical):
    """Pyro's, with draws that can be captured in a graph: `one_hot` looks at its indices."""

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            k = dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
            n = self.event_shape[0]
            return torch.eye(n, dtype=self.logits.dtype, device=self.logits.device)[k]


class RelaxedOneHotDistribution(dist.TorchDistribution):
    """z = softmax((logits + Gumbel noise) / t), for n classes.

        p(z) = (n - 1)! t^(n-1) prod_k (a_k z_k^(-t-1)) / (sum_k a_k z_k^-t)^n,    a = exp(logits)

    The draws stay off the simplex's faces, where it is infinite; those of
    `pyro.distributions.RelaxedOneHotCategorical` reach them in float32 at temperatures of 0.1.

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
        score = dist.Gumbel(self.logits, 1.0).rsample(torch.Size(sample_shape))
        z = (score / self.temperature).softmax(-1)
        return z.clamp(min=torch.finfo(z.dtype).tiny)  # the smallest number with full precision

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, log_z = value.shape[-1], value.log()
        score = self.logits - self.temperature * log_z
        log_norm = math.lgamma(n) + (n - 1) * math.log(self.temperature)
        return score.log_softmax(-1).sum(-1) - log_z.sum(-1) + log_norm
