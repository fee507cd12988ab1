"""Modularity (Ridgeway and Mozer, 2018, https://arxiv.org/abs/1802.05312)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .factor_information import binned, check_bins, information
from .score import Array, Score, Table

__all__ = ["modularity"]


def modularity(
    codes: Array | Tensor,
    factors: Array | Tensor,
    *,
    bins: int = 20,
    dead: Sequence[int] | None = None,
    min_std: float = 0.05,
) -> Score:
    """How much a code says of one factor alone: 1 if of one, 0 if of all of them alike.

        mean_j [1 - sum_(k != best) I(z_j; v_k)^2 / (I(z_j; v_best)^2 (K - 1))]

    Several codes may say the same. A dead code would have any score, as its information is but what
    estimation adds, so dead ones are left out; the mean is over the others.

    Args:
        codes: (N, D); the literature has N = 10,000.
        factors: Whole numbers, (N, K), two or more that vary.
        bins: As of `mutual_information_gap`.
        dead: Likewise.
        min_std: Likewise.

    Raises:
        TypeError: As `mutual_information_gap`.
        ValueError: Likewise, or if one factor alone varies.
    """
    check_bins(bins)
    t = Table.of(codes, factors, dead, min_std, least=2)
    if not len(t.live):
        return t.nothing()
    squares = information(binned(t.codes, bins), t.factors) ** 2  # (L, F)
    best = squares.max(1)
    rest = (squares.sum(1) - best) / np.where(best > 0, best, 1) / (len(t.varying) - 1)
    each = np.where(best > 0, 1 - rest, 0.0)
    return t.score(each.mean(), dict(zip(t.live.tolist(), each.tolist(), strict=True)))
