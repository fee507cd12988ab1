"""Disentanglement, completeness, informativeness (Eastwood and Williams, 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .score import Array, Score, Table, train_and_test

__all__ = ["DCI", "dci"]


@dataclass(frozen=True)
class DCI:
    """Three scores, and the importances that two of them are of.

    Args:
        disentanglement: Whether each code is important for one factor alone, the important codes
            counting more.
        completeness: Whether for each factor one code alone is important.
        informativeness: The share of test data whose factor is predicted from all codes.
        importances: Of each code for each factor, (D, K); 0 for the dead and for factors that do
            not vary.
    """

    disentanglement: Score
    completeness: Score
    informativeness: Score
    importances: Array


def dci(
    codes: Array | Tensor,
    factors: Array | Tensor,
    *,
    classifier: Any = None,
    num_train: int = 2_000,
    num_test: int = 1_000,
    dead: Sequence[int] | None = None,
    min_std: float = 0.05,
    seed: int = 0,
) -> DCI:
    """Predicts each factor from all codes by trees, and asks which codes the trees split.

        disentanglement  sum_j rho_j (1 - H_K(R_j. / sum_k R_jk)),    rho_j = sum_k R_jk / sum R
        completeness     mean_k (1 - H_D(R_.k / sum_j R_jk))

    with R_jk the importance of code j for factor k, and entropies to base K and D, the dead codes
    counted in D.

    The original has regressors, Locatello et al. gradient boosting of 10,000 data, which takes
    minutes for a factor of 40 values: `classifier=GradientBoostingClassifier(), num_train=10_000`,
    of `sklearn.ensemble`. Their numbers differ from each other and from the default, a random
    forest whose trees look at all codes at each split.

    Args:
        codes: (N, D).
        factors: Whole numbers, (N, K), two or more that vary.
        classifier: One of scikit-learn's with `feature_importances_`; None for a random forest.
        num_train: Data to learn from; of fewer data in all two thirds.
        num_test: Data to judge by.
        dead: As of `mutual_information_gap`.
        min_std: Likewise.
        seed: Of the choice of data, and of the forest.

    Raises:
        TypeError: As `mutual_information_gap`.
        ValueError: Likewise, or if one factor alone varies.

    Reference:
        Eastwood and Williams, 2018, https://openreview.net/forum?id=By-7dz-AZ
    """
    from sklearn.base import clone
    from sklearn.ensemble import RandomForestClassifier

    t = Table.of(codes, factors, dead, min_std, least=2)
    importances = np.zeros((t.num_codes, np.asarray(factors).shape[1]))
    if not len(t.live):
        return DCI(t.nothing(), t.nothing(), t.nothing(), importances)
    if classifier is None:
        classifier = RandomForestClassifier(max_features=None, random_state=seed)
    train, test = train_and_test(len(t.codes), num_train, num_test, np.random.default_rng(seed))
    right = []
    for k, v in zip(t.varying, t.factors.T, strict=True):
        learned = clone(classifier).fit(t.codes[train], v[train])
        importances[t.live, k] = np.abs(learned.feature_importances_)
        right.append(learned.score(t.codes[test], v[test]))
    seen = importances[:, t.varying]  # (D, F)
    of_codes, of_factors = _pure(seen), _pure(seen.T)
    weights = seen.sum(1) / max(seen.sum(), 1e-30)
    live = {int(j): float(of_codes[j]) for j in t.live}
    return DCI(
        t.score(weights @ of_codes, live),
        t.of_factors(of_factors),
        t.of_factors(np.array(right)),
        importances,
    )


def _pure(importances: Array) -> Array:
    """1 less the entropy of each row, to the base of its length: 1 if one entry is all of it."""
    total = importances.sum(1, keepdims=True)
    shares = importances / np.where(total > 0, total, 1)
    logs = np.log(np.where(shares > 0, shares, 1))
    entropy = -(shares * logs).sum(1) / max(np.log(importances.shape[1]), 1e-30)
    return np.where(total[:, 0] > 0, 1 - entropy, 0.0)
