"""Normal posteriors: diagonal, of full and of low-rank covariance; and their KLs."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    kl_divergence,
    register_kl,
)

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import Reshaped, reshaped
from pyro_vae.shapes import LatentDim, latent_shape

__all__ = ["DiagonalNormal", "FullNormal", "LowRankNormal"]


class DiagonalNormal(nn.Module):
    """q(z | h) = N(loc, diag(exp(log_scale))^2), with (loc, log_scale) = h.

    Args:
        latent_dim: The size of z, or its shape, such as (4, 32, 32).

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114
    """

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim, self.param_shape = latent_dim, (2, *latent_shape(latent_dim))

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *param_shape[1:])."""
        loc, log_scale = h.unbind(-len(self.param_shape))
        return dist.Normal(loc, log_scale.exp()).to_event(len(self.param_shape) - 1)


class FullNormal(nn.Module):
    """q(z | h) = N(loc, L L^T), with h = (loc, the lower triangle of L, row by row).

    The diagonal of L is given by its logarithms, so h = 0 is N(0, I), as in `DiagonalNormal`.

    Args:
        latent_dim: The size of z, or its shape; the covariance is that of the flattened z.

    Reference:
        Kingma and Welling, 2019, https://arxiv.org/abs/1906.02691, section 2.5.1
    """

    index: Tensor

    def __init__(self, latent_dim: LatentDim = 20) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)
        self.size = math.prod(self.shape)
        num_entries = self.size * (self.size + 1) // 2
        self.param_shape = (self.size + num_entries,)
        rows, columns = torch.tril_indices(self.size, self.size)
        index = torch.zeros(self.size, self.size, dtype=torch.long)
        index[rows, columns] = torch.arange(num_entries)
        self.register_buffer("index", index, persistent=False)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over z (..., *shape)."""
        loc, entries = h[..., : self.size], h[..., self.size :]
        square = entries[..., self.index]
        diagonal = square.diagonal(dim1=-2, dim2=-1).exp().diag_embed()
        q = dist.MultivariateNormal(loc, scale_tril=square.tril(-1) + diagonal)
        return reshaped(q, self.shape)


class LowRankNormal(nn.Module):
    """q(z | h) = N(loc, diag(exp(log_scale))^2 + W W^T), with (loc, log_scale, W^T) = h.

    Args:
        latent_dim: The size of z, or its shape; the covariance is that of the flattened z.
        rank: The columns of W, the directions in which latents vary together.

    Reference:
        Rezende et al., 2014, https://arxiv.org/abs/1401.4082, where the precision is so structured
    """

    def __init__(self, latent_dim: LatentDim = 20, *, rank: int = 2) -> None:
        super().__init__()
        check_sizes(rank=rank)
        self.latent_dim, self.shape = latent_dim, latent_shape(latent_dim)
        self.rank, self.param_shape = rank, (2 + rank, *self.shape)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2 + rank, *shape) to a distribution over z (..., *shape)."""
        h = h.flatten(h.dim() - len(self.shape))  # (..., 2 + rank, d)
        loc, log_scale, W = h[..., 0, :], h[..., 1, :], h[..., 2:, :].mT
        return reshaped(dist.LowRankMultivariateNormal(loc, W, (2 * log_scale).exp()), self.shape)


@register_kl(MultivariateNormal, Independent)
@register_kl(LowRankMultivariateNormal, Independent)
@register_kl(Reshaped, Independent)
def _kl_from_correlated(
    q: MultivariateNormal | LowRankMultivariateNormal | Reshaped, p: Independent[Any]
) -> Tensor:
    """KL(q || p) for a p whose coordinates are independent.

    It is KL(prod_j q_j || p), of the marginals, plus what q's coordinates tell of each other,
    sum_j H[q_j] - H[q].
    """
    flat = q.base_dist if isinstance(q, Reshaped) else q
    is_normal = isinstance(flat, MultivariateNormal | LowRankMultivariateNormal)
    if not is_normal or p.reinterpreted_batch_ndims != len(q.event_shape):
        raise NotImplementedError
    single = torch.distributions.Normal(q.mean, q.variance.sqrt())
    marginals = Independent(single, len(q.event_shape))
    return kl_divergence(marginals, p) + marginals.entropy() - q.entropy()
