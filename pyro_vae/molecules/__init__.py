"""Molecules: how they are written as tokens, and what is said of a set of them.

Functions of lists of SMILES. The packages that they need, rdkit, selfies and fcd, are the extra
`molecules`; they are imported where they are used.
"""

from .frechet import chemnet, frechet_chemnet_distance, frechet_distance
from .metrics import internal_diversity, novelty, uniqueness, valid_share
from .notations import NOTATIONS, Notation
from .parsing import canonical, canonical_or_not, molecules
from .pictures import picture, save_picture
from .properties import lengths, log_p, qed
from .similarity import fingerprints, nearest
from .summary import FEWEST_FOR_FCD, Spread, Summary, summary

__all__ = [
    "FEWEST_FOR_FCD",
    "NOTATIONS",
    "Notation",
    "Spread",
    "Summary",
    "canonical",
    "canonical_or_not",
    "chemnet",
    "fingerprints",
    "frechet_chemnet_distance",
    "frechet_distance",
    "internal_diversity",
    "lengths",
    "log_p",
    "molecules",
    "nearest",
    "novelty",
    "picture",
    "qed",
    "save_picture",
    "summary",
    "uniqueness",
    "valid_share",
]
