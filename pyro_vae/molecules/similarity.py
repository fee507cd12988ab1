"""How alike two molecules are: Tanimoto's similarity of their Morgan fingerprints.

Rogers and Hahn, 2010, https://doi.org/10.1021/ci100050t; 1,024 bits of radius 2, as in MOSES.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packages import package
from .parsing import parsed

__all__ = ["fingerprints", "nearest", "similarities"]

_RADIUS, _BITS = 2, 1024


def fingerprints(smiles: Sequence[str]) -> list[Any]:
    """The fingerprint of each molecule, a bit vector of rdkit.

    Raises:
        ValueError: If a text does not parse.
    """
    make = package("rdkit.Chem.rdFingerprintGenerator").GetMorganGenerator(
        radius=_RADIUS, fpSize=_BITS
    )
    return [make.GetFingerprint(mol) for mol in parsed(smiles)]


def similarities(prints: Sequence[Any], others: Sequence[Any]) -> Iterator[NDArray[np.float64]]:
    """Of each fingerprint the similarities to all others, (len(others),).

    T(a, b) is the number of bits that both have, divided by those that one of them has.
    """
    compare = package("rdkit.DataStructs").BulkTanimotoSimilarity
    return (np.array(compare(one, others)) for one in prints)


def nearest(smiles: Sequence[str], among: Sequence[str]) -> list[tuple[str, float]]:
    """For each molecule the most similar of others, the first of alike ones, and how similar it is.

    Args:
        smiles: Molecules.
        among: Those to look among, such as the training data.

    Raises:
        ValueError: If a text does not parse, or there is nothing to look among.
    """
    if not among:
        raise ValueError("there are no molecules to look for the nearest among; give some")
    others = fingerprints(among)
    rows = similarities(fingerprints(smiles), others)
    return [(among[int(row.argmax())], float(row.max())) for row in rows]
