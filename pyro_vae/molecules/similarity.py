"""How alike two molecules are: Tanimoto's similarity of their Morgan fingerprints.

Rogers and Hahn, 2010, https://doi.org/10.1021/ci100050t; 1,024 bits of radius 2, as in MOSES.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packages import package
from .parsing import molecules, parsed

__all__ = ["fingerprints", "nearest", "similarities"]

_RADIUS, _BITS = 2, 1024


def fingerprints(smiles: Sequence[str]) -> list[Any]:
    """The fingerprint of each molecule, a bit vector of rdkit.

    Raises:
        ValueError: If a text does not parse.
    """
    make = _generator()
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
        among: Those to look among, such as the training data; what does not parse is left out.

    Raises:
        ValueError: If a text of `smiles` does not parse, or there is nothing to look among.
    """
    make = _generator()
    found = [
        (text, make.GetFingerprint(mol))
        for text, mol in zip(among, molecules(among), strict=True)
        if mol is not None
    ]
    if not found:
        raise ValueError("there are no molecules to look for the nearest among; give some")
    texts, others = zip(*found, strict=True)
    rows = similarities(fingerprints(smiles), others)
    return [(texts[int(row.argmax())], float(row.max())) for row in rows]


def _generator() -> Any:
    make = package("rdkit.Chem.rdFingerprintGenerator").GetMorganGenerator
    return make(radius=_RADIUS, fpSize=_BITS)
