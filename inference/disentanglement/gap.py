"""The mutual information gap, MIG (Chen et al., 2018, https://arxiv.org/abs/1802.04942)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .factor_information import binned, check_bins, entropies, information
from .score import Array, Score, Table

__all__ = ["mutual_information_gap"]


def mutual_information_gap(
    codes: Array | Tensor,
    factors: Array | Tensor,
    *,
    bins: int = 20,
    dead: Sequence[int] | None = None,
    min_std: float = 0.05,
) -> Score:
    """By how much the code that says most of a factor says more than the next: 1 for one alone.

        mean_k [I(z_(1); v_k) - I(z_(2); v_k)] / H(v_k)

    where z_(1) and z_(2) are the codes with the most information of factor k, each the mean of
    q(z | x) in bins. A factor with more values than there are bins cannot have 1. Chen et al. take
    draws instead, and log q(z) averaged over all data, which gives other numbers.

    Args:
        codes: (N, D); the literature has N = 10,000.
        factors: Whole numbers, (N, K).
        bins: Of equal width, for each code.
        dead: Which codes are left out, by index; None for those whose standard deviation is below
            `min_std`.
        min_std: See `dead`.

    Raises:
        TypeError: If the factors are no whole numbers.
        ValueError: If codes or factors are none, or no factor varies.

    Reference:
        Locatello et al., 2019, https://arxiv.org/abs/1811.12359, appendix C, for the bins
    """
    check_bins(bins)
    t = Table.of(codes, factors, dead, min_std)
    if not len(t.live):
        return t.nothing()
    told = information(binned(t.codes, bins), t.factors)
    best = np.sort(np.concatenate([np.zeros((1, len(t.varying))), told]), 0)[-2:]
    return t.of_factors((best[1] - best[0]) / entropies(t.factors))
