"""What a set of generated molecules is judged by, as MOSES defines it.

Polykovskiy et al., 2020, https://arxiv.org/abs/1811.12823, section 3. Valid is what parses, and two
texts of one canonical SMILES are one molecule. All are functions of lists of SMILES; a share of
nothing is NaN.
"""

import math
from collections.abc import Collection, Sequence

from .parsing import canonical, distinct
from .similarity import fingerprints, similarities

__all__ = ["internal_diversity", "novelty", "uniqueness", "valid_share"]


def valid_share(smiles: Sequence[str]) -> float:
    """The share of the texts that parse (MOSES: Valid)."""
    found = canonical(smiles)
    return _share(sum(text is not None for text in found), len(found))


def uniqueness(smiles: Sequence[str], k: int | None = None) -> float:
    """How many different molecules are among the first k that parse, of each (MOSES: Unique@k).

    Args:
        smiles: The texts.
        k: How many; None takes all that parse, as do fewer than k.

    Raises:
        ValueError: If k is not at least 1.
    """
    if k is not None and k < 1:
        raise ValueError(f"k must be at least 1, but is {k}")
    valid = [text for text in canonical(smiles) if text is not None][:k]
    return _share(len(set(valid)), len(valid))


def novelty(smiles: Sequence[str], train: Collection[str]) -> float:
    """The share of the different molecules that are none of the training data (MOSES: Novelty).

    Args:
        smiles: The texts.
        train: The canonical SMILES of the training data.
    """
    found = set(distinct(smiles))
    return _share(len(found - set(train)), len(found))


def internal_diversity(smiles: Sequence[str], p: int = 1) -> float:
    """1 minus the power mean of the similarities of all pairs (MOSES: IntDiv_p).

        1 - (1 / n^2 sum_ij T(i, j)^p)^(1/p)

    T is Tanimoto's similarity of Morgan fingerprints. A molecule with itself is a pair, too, and
    so are two texts of one molecule; texts that do not parse are left out. See Benhenda, 2017,
    https://arxiv.org/abs/1708.08227.
    """
    prints = fingerprints([text for text in canonical(smiles) if text is not None])
    if not prints:
        return math.nan
    total = math.fsum(float((row**p).sum()) for row in similarities(prints, prints))
    return 1 - (total / len(prints) ** 2) ** (1 / p)


def _share(some: int, of_all: int) -> float:
    return some / of_all if of_all else math.nan
