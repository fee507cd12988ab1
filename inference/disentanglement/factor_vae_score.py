"""The score of FactorVAE (Kim and Mnih, 2018, https://arxiv.org/abs/1802.05983)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .fixed_factor import check_counts, drawn_factors
from .score import Array, Score, Table

__all__ = ["factor_vae_score"]


def factor_vae_score(
    codes: Array | Tensor,
    factors: Array | Tensor,
    *,
    batch_size: int = 64,
    num_train: int = 10_000,
    num_test: int = 5_000,
    dead: Sequence[int] | None = None,
    min_std: float = 0.05,
    seed: int = 0,
) -> Score:
    """How often the code that varies least tells which factor was fixed.

    One factor is fixed at a value, the others vary. Each code's variance over such data is divided
    by that over all, and the code with the least votes for the factor. A code stands for the factor
    that it has most votes for, and the score is the share of new votes that this is right of. Of F
    factors one of F is right by guessing. A factor that two codes share costs nothing.

    The data are those given, drawn with replacement, and not made anew. Codes below `min_std` vary
    so little that their quotient is noise; 0.05 is what disentanglement_lib has, others leave none
    out.

    Args:
        codes: (N, D), some hundred or more for each value of each factor.
        factors: Whole numbers, (N, K).
        batch_size: Data for a variance.
        num_train: Votes to learn from.
        num_test: Votes to judge by.
        dead: As of `mutual_information_gap`.
        min_std: Likewise.
        seed: Of what is drawn.

    Raises:
        TypeError: As `mutual_information_gap`.
        ValueError: Likewise, or if a number of votes or data is none.

    Reference:
        Kim and Mnih, 2018, https://arxiv.org/abs/1802.05983, section 4
    """
    check_counts(batch_size=batch_size, num_train=num_train, num_test=num_test)
    t = Table.of(codes, factors, dead, min_std)
    if not len(t.live):
        return t.nothing()
    rng = np.random.default_rng(seed)
    majority = _votes(t, num_train, batch_size, rng).argmax(1)  # (L,)
    votes = _votes(t, num_test, batch_size, rng)
    right = votes[np.arange(len(majority)), majority]  # (L,)
    of_each = [
        right[majority == k].sum() / max(votes[:, k].sum(), 1) for k in range(len(t.varying))
    ]
    named = zip(t.varying.tolist(), map(float, of_each), strict=True)
    return t.score(right.sum() / votes.sum(), dict(named))


def _votes(t: Table, number: int, batch_size: int, rng: np.random.Generator) -> Array:
    """How often each code has varied least where each factor was fixed, (L, F)."""
    votes = np.zeros((len(t.live), len(t.varying)), dtype=np.int64)
    overall = t.codes.var(0, ddof=1)
    for k, fixed, count in drawn_factors(t, number, rng):
        values = t.factors[rng.integers(len(t.factors), size=count), k]
        rows = fixed.rows(np.repeat(values[:, None], batch_size, 1))
        for part in np.array_split(rows, max(1, count // 500)):  # 500 x 64 x 10 numbers at once
            least = (t.codes[part].var(1, ddof=1) / overall).argmin(1)
            votes[:, k] += np.bincount(least, minlength=len(t.live))
    return votes
