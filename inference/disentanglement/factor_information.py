"""The mutual information of each code and each factor, from counts."""

import numpy as np
from torch import Tensor

from .score import Array, Table

__all__ = ["binned", "check_bins", "entropies", "factor_information", "information"]


def factor_information(codes: Array | Tensor, factors: Array | Tensor, *, bins: int = 20) -> Array:
    """I(z_j; v_k) in nats of codes in bins of equal width, from the counts of pairs: (D, K).

    It is too high by about (bins - 1)(values - 1) / 2N nats on average, so that a code that says
    nothing of a factor has a little, the more values the factor takes. No dead code is left out.

    Args:
        codes: (N, D).
        factors: Whole numbers, (N, K).
        bins: Between the least and the greatest value of each code. They cannot tell more than
            log(bins) nats.

    Raises:
        TypeError: As the metrics.
        ValueError: As the metrics, or if there are no bins.
    """
    check_bins(bins)
    t = Table.of(codes, factors, (), 0.0)
    found = np.zeros((t.num_codes, np.asarray(factors).shape[1]))
    found[np.ix_(t.live, t.varying)] = information(binned(t.codes, bins), t.factors)
    return found


def information(codes: Array, factors: Array) -> Array:
    """I of each pair of columns of whole numbers, (N, L) and (N, F), in nats: (L, F)."""
    found = np.empty((codes.shape[1], factors.shape[1]))
    for j, z in enumerate(codes.T):
        for k, v in enumerate(factors.T):
            found[j, k] = _information(z, v)
    return found


def entropies(factors: Array) -> Array:
    """H of each column of whole numbers, (N, F), in nats: (F,)."""
    shares = [np.bincount(v) / len(v) for v in factors.T]
    return np.array([-(p[p > 0] * np.log(p[p > 0])).sum() for p in shares])


def binned(codes: Array, bins: int) -> Array:
    """The bin of each code, 0 to bins - 1, of equal width between its least and greatest value."""
    low, high = codes.min(0, initial=np.inf), codes.max(0, initial=-np.inf)
    place = np.floor((codes - low) / (high - low) * bins).astype(np.int64)
    return np.minimum(place, bins - 1)


def check_bins(bins: int) -> None:
    """Refuses what is no number of bins."""
    if not isinstance(bins, int) or bins < 2:
        raise ValueError(f"bins must be a whole number, 2 or more, but is {bins!r}")


def _information(z: Array, v: Array) -> float:
    rows, columns = int(z.max()) + 1, int(v.max()) + 1
    joint = np.bincount(z * columns + v, minlength=rows * columns).reshape(rows, columns) / len(z)
    alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float(max((joint[there] * np.log(joint[there] / alone[there])).sum(), 0.0))
