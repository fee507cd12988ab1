"""Explicitness (Ridgeway and Mozer, 2018, https://arxiv.org/abs/1802.05312)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .score import Array, Score, Table, quietly, train_and_test

__all__ = ["explicitness"]


def explicitness(
    codes: Array | Tensor,
    factors: Array | Tensor,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    dead: Sequence[int] | None = None,
    min_std: float = 0.05,
    seed: int = 0,
) -> Score:
    """How well a linear classifier of all codes tells the values of a factor: 0.5 is guessing.

    The mean over factors and their values of the area under the ROC curve, each value against all
    others, of a multinomial logistic regression on codes of unit variance. It asks nothing of
    single codes: codes that are rotated among each other keep theirs.

    Args:
        codes: (N, D).
        factors: Whole numbers, (N, K).
        num_train: Data to learn from; of fewer data in all two thirds.
        num_test: Data to judge by.
        dead: As of `mutual_information_gap`.
        min_std: Likewise.
        seed: Of the choice of data.

    Raises:
        TypeError: As `mutual_information_gap`.
        ValueError: Likewise.
    """
    t = Table.of(codes, factors, dead, min_std)
    if not len(t.live):
        return t.nothing()
    train, test = train_and_test(len(t.codes), num_train, num_test, np.random.default_rng(seed))
    scaled = (t.codes - t.codes[train].mean(0)) / np.maximum(t.codes[train].std(0), 1e-30)
    return t.of_factors(
        np.array([_area(scaled[train], v[train], scaled[test], v[test]) for v in t.factors.T])
    )


def _area(z: Array, v: Array, z_test: Array, v_test: Array) -> float:
    """The mean area under the curve over the values that some test data have and some have not."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    if len(np.unique(v)) < 2:
        return 0.5
    with quietly():
        learned = LogisticRegression(max_iter=1000).fit(z, v)
    probabilities = learned.predict_proba(z_test)
    areas = [
        roc_auc_score(v_test == value, probabilities[:, place])
        for place, value in enumerate(learned.classes_)
        if 0 < (v_test == value).sum() < len(v_test)
    ]
    return float(np.mean(areas)) if areas else 0.5
