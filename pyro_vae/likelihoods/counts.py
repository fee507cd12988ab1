"""Likelihoods of counts 0, 1, 2, ..., for events and for the reads of genes."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]


class Poisson(nn.Module):
    """Counts whose variance is their mean: x_d ~ Poisson(exp(h_d))."""

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = self.param_shape = tuple(x_shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        return dist.Poisson(h.exp()).to_event(len(self.x_shape))


class NegativeBinomial(nn.Module):
    """Counts that vary more than a Poisson's: mean mu = exp(h_d), variance mu + mu^2 / theta_d.

        p(x) = Gamma(x + theta) / (x! Gamma(theta)) (1 - r)^theta r^x,   r = mu / (mu + theta)

    The inverse dispersion theta is learned, one for each entry (gene), and starts at 1.

    Reference:
        Lopez et al., 2018 (scVI), https://doi.org/10.1038/s41592-018-0229-2
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = self.param_shape = tuple(x_shape)
        self.log_theta = nn.Parameter(torch.zeros(self.x_shape))

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *x_shape) to a distribution over x (..., *x_shape)."""
        theta = self.log_theta.exp()
        return dist.NegativeBinomial(theta, logits=h - self.log_theta).to_event(len(self.x_shape))


class ZeroInflatedNegativeBinomial(nn.Module):
    """A `NegativeBinomial` count, replaced by 0 with probability sigmoid(gate_d): dropout.

    The decoder gives h = (log mu, gate), each of shape x_shape.

    Reference:
        Lopez et al., 2018 (scVI), https://doi.org/10.1038/s41592-018-0229-2
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = tuple(x_shape)
        self.param_shape = (2, *self.x_shape)
        self.log_theta = nn.Parameter(torch.zeros(self.x_shape))

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2, *x_shape) to a distribution over x (..., *x_shape)."""
        log_mu, gate = h.unbind(-1 - len(self.x_shape))
        count = DroppedCount(self.log_theta.exp(), logits=log_mu - self.log_theta, gate_logits=gate)
        return count.to_event(len(self.x_shape))


class DroppedCount(dist.ZeroInflatedNegativeBinomial):
    """Pyro's zero-inflated count, without its switch from logits to the rounded probability.

    There a `sample` or `mean` stores `gate`, and `log_prob` takes log(1 - gate) from then on, which
    is -inf in float32 for logits above 17. Nor are probabilities checked that round to 1.
    """

    arg_constraints = {
        "total_count": constraints.nonnegative,
        "logits": constraints.real,
        "gate_logits": constraints.real,
    }

    @property
    def gate(self) -> Tensor:
        return torch.sigmoid(self.gate_logits)
