"""Normal posteriors: diagonal, of full and of low-rank covariance; and their KLs."""

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

from pyro_vae.wiring import check_sizes

__all__ = ["DiagonalNormal", "FullNormal", "LowRankNormal"]


class DiagonalNormal(nn.Module):
    """q(z | h) = N(loc, diag(exp(log_scale))^2), with (loc, log_scale) = h.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114
    """

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        self.latent_dim = latent_dim
        self.param_shape = (2, latent_dim)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2, latent_dim) to a distribution over (..., latent_dim)."""
        loc, log_scale = h.unbind(-2)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class FullNormal(nn.Module):
    """q(z | h) = N(loc, L L^T), with h = (loc, the lower triangle of L, row by row).

    The diagonal of L is given by its logarithms, so h = 0 is N(0, I), as in `DiagonalNormal`.

    Reference:
        Kingma and Welling, 2019, https://arxiv.org/abs/1906.02691, section 2.5.1
    """

    index: Tensor

    def __init__(self, latent_dim: int = 20) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim)
        self.latent_dim = latent_dim
        size = latent_dim * (latent_dim + 1) // 2
        self.param_shape = (latent_dim + size,)
        rows, columns = torch.tril_indices(latent_dim, latent_dim)
        index = torch.zeros(latent_dim, latent_dim, dtype=torch.long)
        index[rows, columns] = torch.arange(size)
        self.register_buffer("index", index, persistent=False)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over (..., latent_dim)."""
        loc, entries = h[..., : self.latent_dim], h[..., self.latent_dim :]
        square = entries[..., self.index]
        diagonal = square.diagonal(dim1=-2, dim2=-1).exp().diag_embed()
        return dist.MultivariateNormal(loc, scale_tril=square.tril(-1) + diagonal)


class LowRankNormal(nn.Module):
    """q(z | h) = N(loc, diag(exp(log_scale))^2 + W W^T), with (loc, log_scale, W^T) = h.

    Args:
        latent_dim: The size of z.
        rank: The columns of W, the directions in which latents vary together.

    Reference:
        Rezende et al., 2014, https://arxiv.org/abs/1401.4082, where the precision is so structured
    """

    def __init__(self, latent_dim: int = 20, *, rank: int = 2) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, rank=rank)
        self.latent_dim, self.rank = latent_dim, rank
        self.param_shape = (2 + rank, latent_dim)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., 2 + rank, latent_dim) to a distribution over (..., latent_dim)."""
        loc, log_scale, W = h[..., 0, :], h[..., 1, :], h[..., 2:, :].mT
        return dist.LowRankMultivariateNormal(loc, W, (2 * log_scale).exp())


@register_kl(MultivariateNormal, Independent)
@register_kl(LowRankMultivariateNormal, Independent)
def _kl_from_correlated(
    q: MultivariateNormal | LowRankMultivariateNormal, p: Independent[Any]
) -> Tensor:
    """KL(q || p) for a p whose coordinates are independent.

    It is KL(prod_j q_j || p), of the marginals, plus what q's coordinates tell of each other,
    sum_j H[q_j] - H[q].
    """
    if p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    marginals = Independent(torch.distributions.Normal(q.loc, q.variance.sqrt()), 1)
    return kl_divergence(marginals, p) + marginals.entropy() - q.entropy()
