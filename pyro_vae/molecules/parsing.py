"""From SMILES to molecules of rdkit and back: what parses is a molecule.

SMILES: Weininger, 1988, https://doi.org/10.1021/ci00057a005.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from .packages import package

__all__ = ["canonical", "canonical_or_not", "distinct", "molecules", "parsed"]

_AT_ONCE = 1_000  # a molecule takes some 10 kB, and ZINC has 250,000


def molecules(smiles: Iterable[str]) -> Iterator[Any]:
    """The molecule of each SMILES, an rdkit `Mol`; None where it does not parse.

    It parses if rdkit reads it and finds each atom's valence and each aromatic ring possible. A
    text without atoms is no molecule. What rdkit would print about it is not printed.

    Raises:
        ValueError: If rdkit is not installed.
    """
    read, quiet = package("rdkit.Chem").MolFromSmiles, package("rdkit.rdBase").BlockLogs
    texts = iter(smiles)
    while chunk := list(islice(texts, _AT_ONCE)):
        with quiet():  # not beyond a yield, where others may want to read what rdkit says
            found = [read(text) for text in chunk]
        yield from (mol if mol is not None and mol.GetNumAtoms() else None for mol in found)


def parsed(smiles: Sequence[str]) -> Iterator[Any]:
    """The molecules of SMILES that all parse.

    Raises:
        ValueError: If one does not.
    """
    for text, mol in zip(smiles, molecules(smiles), strict=True):
        if mol is None:
            raise ValueError(
                f"{text!r} does not parse as SMILES; leave it out: pyro_vae.molecules.canonical "
                "gives None for such texts"
            )
        yield mol


def canonical(smiles: Iterable[str]) -> list[str | None]:
    """The canonical SMILES of each, which is one for one molecule; None where it does not parse.

    Example:
        >>> canonical(["OCC", "C(O)C", "C(O"])
        ['CCO', 'CCO', None]
    """
    write = package("rdkit.Chem").MolToSmiles
    return [None if mol is None else write(mol) for mol in molecules(smiles)]


def canonical_or_not(smiles: Iterable[str]) -> list[str]:
    """The canonical SMILES of each, or the text as it is where it does not parse."""
    texts = list(smiles)
    return [found or text for found, text in zip(canonical(texts), texts, strict=True)]


def distinct(smiles: Iterable[str]) -> list[str]:
    """The canonical SMILES of those that parse, each once, in the order of their first places."""
    return list(dict.fromkeys(found for found in canonical(smiles) if found is not None))
