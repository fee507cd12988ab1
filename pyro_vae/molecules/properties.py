"""Numbers that each molecule has: log P, drug-likeness, length."""

from collections.abc import Sequence

from .notations import smiles_tokens
from .packages import package
from .parsing import parsed

__all__ = ["lengths", "log_p", "qed"]


def log_p(smiles: Sequence[str]) -> list[float]:
    """The logarithm of the share in octanol over that in water, estimated from the atoms.

    Wildman and Crippen, 1999, https://doi.org/10.1021/ci990307l.

    Raises:
        ValueError: If a text does not parse.
    """
    estimate = package("rdkit.Chem.Crippen").MolLogP
    return [estimate(mol) for mol in parsed(smiles)]


def qed(smiles: Sequence[str]) -> list[float]:
    """The quantitative estimate of drug-likeness, from 0 to 1.

    Bickerton et al., 2012, https://doi.org/10.1038/nchem.1243.

    Raises:
        ValueError: If a text does not parse.
    """
    estimate = package("rdkit.Chem.QED").qed
    return [estimate(mol) for mol in parsed(smiles)]


def lengths(smiles: Sequence[str]) -> list[int]:
    """How many tokens each SMILES has: atoms, bonds, brackets and numbers of rings."""
    return [len(smiles_tokens(text)) for text in smiles]
