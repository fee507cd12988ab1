"""Molecules as sequences of tokens: SMILES by atoms and bonds, or SELFIES."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .packages import package

__all__ = ["NOTATIONS", "Notation", "smiles_tokens"]

# An atom in brackets, one of two letters, a ring's number of two digits, or a single character.
_TOKEN = re.compile(r"\[[^]]+\]|Br|Cl|%..|.")


@dataclass(frozen=True)
class Notation:
    """How molecules are written as texts, whose tokens stand side by side.

    Args:
        name: "smiles" or "selfies".
        tokens: From the SMILES of a molecule to its tokens; raises ValueError where it has none.
        smiles: From a text to SMILES.
    """

    name: str
    tokens: Callable[[str], list[str]]
    smiles: Callable[[str], str]


def smiles_tokens(smiles: str) -> list[str]:
    """The atom-wise tokens of SMILES (Schwaller et al., 2019, https://arxiv.org/abs/1811.02633).

    Example:
        >>> smiles_tokens("C[C@H](Cl)Br")
        ['C', '[C@H]', '(', 'Cl', ')', 'Br']
    """
    return _TOKEN.findall(smiles)


def _selfies_tokens(smiles: str) -> list[str]:
    selfies = package("selfies", "SELFIES")
    try:
        return list(selfies.split_selfies(selfies.encoder(smiles)))
    except selfies.EncoderError as error:
        raise ValueError(f"{smiles!r} cannot be written as SELFIES") from error


def _from_selfies(text: str) -> str:
    return package("selfies", "SELFIES").decoder(text)


# SELFIES: Krenn et al., 2020, https://arxiv.org/abs/1905.13741; each text is of some molecule.
NOTATIONS: Mapping[str, Notation] = MappingProxyType(
    {
        "smiles": Notation("smiles", smiles_tokens, str),
        "selfies": Notation("selfies", _selfies_tokens, _from_selfies),
    }
)
