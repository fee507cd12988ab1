"""The posterior of BN-VAE: a Normal whose rate cannot fall to 0."""

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.checks import check_positive
from pyro_vae.shapes import LatentDim

from .normals import DiagonalNormal

__all__ = ["BatchNormNormal"]


class BatchNormNormal(DiagonalNormal):
    """q(z | h) = N(gamma (loc - m) / s + shift, diag(exp(log_scale))^2), with (loc, log_scale) = h.

    m and s are the mean and the standard deviation of loc over the batch, of each number of z
    apart; gamma is fixed and shift is learned. So over a batch the locations have the variance
    gamma^2, whatever the encoder gives, and the KL to N(0, I) has a mean of at least

        1/2 sum_j (gamma^2 + shift_j^2)

    since (scale^2 - 1 - log scale^2) / 2, what the scales add to it, is never below 0. Of 32
    numbers and gamma = 0.5 these are 4 nats. Unlike free bits, this is no other objective: the
    ELBO of such a guide is a bound on log p(x).

    In evaluation mode m and s are moving averages over the batches, so that the posterior of a
    datum depends on no other; `fit(recompute_batch_statistics=True)` takes them of all training
    data. As a part of a `VampPrior` it normalizes pseudo-inputs by themselves.

    Args:
        latent_dim: The size of z, or its shape.
        gamma: The standard deviation of the locations; 0.4 to 0.7 in the paper.

    Reference:
        Zhu et al., 2020, https://arxiv.org/abs/2004.12585
    """

    def __init__(self, latent_dim: LatentDim = 20, *, gamma: float = 0.5) -> None:
        super().__init__(latent_dim)
        check_positive(gamma=gamma)
        self.gamma, self.shape = gamma, self.param_shape[1:]
        self.norm = nn.BatchNorm1d(math.prod(self.shape), affine=False)
        self.shift = nn.Parameter(torch.zeros(self.shape))

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *param_shape[1:])."""
        loc, log_scale = h.unbind(-len(self.param_shape))
        normalized = self.norm(loc.reshape(-1, self.norm.num_features)).reshape(loc.shape)
        loc = self.gamma * normalized + self.shift
        return dist.Normal(loc, log_scale.exp()).to_event(len(self.shape))
