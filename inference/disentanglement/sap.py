"""Separated attribute predictability, SAP (Kumar et al., 2018, https://arxiv.org/abs/1711.00848)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .score import Array, Score, Table, quietly, train_and_test

__all__ = ["sap"]


def sap(
    codes: Array | Tensor,
    factors: Array | Tensor,
    *,
    continuous: bool = False,
    C: float = 0.01,  # noqa: N803 (the name that it has in the field)
    num_train: int = 10_000,
    num_test: int = 5_000,
    dead: Sequence[int] | None = None,
    min_std: float = 0.05,
    seed: int = 0,
) -> Score:
    """By how much the code that predicts a factor best, alone, predicts it better than the next.

    A factor is predicted by a linear support vector machine of one number, with balanced classes,
    and judged by the share of test data that it gets right. Such a machine tells few of many
    ordered values apart, so these scores are low, whatever the codes. With `continuous` a factor is
    judged by the squared correlation with a code instead. The two cannot be compared.

    Args:
        codes: (N, D).
        factors: Whole numbers, (N, K).
        continuous: Whether to take squared correlations; False is the literature's choice for
            dSprites.
        C: The penalty of the machine.
        num_train: Data to learn from; of fewer data in all two thirds.
        num_test: Data to judge by.
        dead: As of `mutual_information_gap`. A dead code predicts as a constant does, which is
            never the best, and so does the next where there is one code alone.
        min_std: Likewise.
        seed: Of the choice of data.

    Raises:
        TypeError: As `mutual_information_gap`.
        ValueError: Likewise.

    Reference:
        Locatello et al., 2019, https://arxiv.org/abs/1811.12359, appendix C, for C and balance
    """
    t = Table.of(codes, factors, dead, min_std)
    if not len(t.live):
        return t.nothing()
    if continuous:
        found = np.corrcoef(t.codes, t.factors, rowvar=False)[: len(t.live), len(t.live) :] ** 2
        none = np.zeros((1, len(t.varying)))
    else:
        found, none = _accuracies(t, C, num_train, num_test, seed)
    others = np.sort(found, 0)[:-1]
    if t.dead or not len(others):
        others = np.concatenate([others, none])
    return t.of_factors(np.maximum(found.max(0) - others.max(0), 0.0))


def _accuracies(
    t: Table, penalty: float, num_train: int, num_test: int, seed: int
) -> tuple[Array, Array]:
    """The share that each code gets right of each factor, (L, F), and a constant, (1, F)."""
    from sklearn.svm import LinearSVC

    train, test = train_and_test(len(t.codes), num_train, num_test, np.random.default_rng(seed))
    right = np.zeros((len(t.live), len(t.varying)))
    with quietly():
        for k, v in enumerate(t.factors.T):
            if len(np.unique(v[train])) < 2:
                continue
            for j, z in enumerate(t.codes.T):
                machine = LinearSVC(C=penalty, class_weight="balanced", random_state=seed)
                machine.fit(z[train, None], v[train])
                right[j, k] = machine.score(z[test, None], v[test])
    commonest = [np.bincount(v[train]).argmax() for v in t.factors.T]
    return right, (t.factors[test] == commonest).mean(0, keepdims=True)
