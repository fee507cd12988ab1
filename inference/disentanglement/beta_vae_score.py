"""The score of the beta-VAE (Higgins et al., 2017, https://openreview.net/forum?id=Sy2fzU9gl)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .fixed_factor import check_counts, drawn_factors
from .score import Array, Score, Table, quietly

__all__ = ["beta_vae_score"]


def beta_vae_score(
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
    """How often a linear classifier tells which factor the two of each pair have in common.

    It sees |z - z'|, averaged over a batch of pairs. Codes that are rotated among each other may
    still have 1; of F factors one of F is right by guessing. The data are those given, drawn with
    replacement, and not made anew.

    Args:
        codes: (N, D), some hundred or more for each value of each factor.
        factors: Whole numbers, (N, K).
        batch_size: Pairs that are averaged.
        num_train: Averages to learn from.
        num_test: Averages to judge by.
        dead: As of `mutual_information_gap`.
        min_std: Likewise.
        seed: Of what is drawn.

    Raises:
        TypeError: As `mutual_information_gap`.
        ValueError: Likewise, if two factors do not vary, or a number of pairs is none.
    """
    from sklearn.linear_model import LogisticRegression

    check_counts(batch_size=batch_size, num_train=num_train, num_test=num_test)
    t = Table.of(codes, factors, dead, min_std, least=2)
    if not len(t.live):
        return t.nothing()
    rng = np.random.default_rng(seed)
    (x, y), (x_test, y_test) = (_differences(t, n, batch_size, rng) for n in (num_train, num_test))
    with quietly():
        guess = LogisticRegression(max_iter=1000).fit(x, y).predict(x_test)
    of_each = {
        int(t.varying[k]): float((guess == k)[y_test == k].mean()) for k in np.unique(y_test)
    }
    return t.score(float((guess == y_test).mean()), of_each)


def _differences(
    t: Table, number: int, batch_size: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Averages (number, L) of |z - z'| over pairs with one value in common, and whose it is."""
    found, which = [], []
    for k, fixed, count in drawn_factors(t, number, rng):
        for size in (len(part) for part in np.array_split(np.arange(count), max(1, count // 500))):
            one = rng.integers(len(t.codes), size=(size, batch_size))
            other = fixed.rows(t.factors[one, k])
            found.append(np.abs(t.codes[one] - t.codes[other]).mean(1))
            which.append(np.full(size, k))
    return np.concatenate(found), np.concatenate(which)
