"""How well single numbers of a code stand for the factors of the data, one file a metric.

A metric sees codes (N, D) and factors (N, K), and no program; `codes_and_factors` asks one for its.
"""

from .beta_vae_score import beta_vae_score
from .dci import DCI, dci
from .encoding import Codes, codes_and_factors
from .explicitness import explicitness
from .factor_information import factor_information
from .factor_vae_score import factor_vae_score
from .gap import mutual_information_gap
from .modularity import modularity
from .sap import sap
from .score import Score

__all__ = [
    "Codes",
    "DCI",
    "Score",
    "beta_vae_score",
    "codes_and_factors",
    "dci",
    "explicitness",
    "factor_information",
    "factor_vae_score",
    "modularity",
    "mutual_information_gap",
    "sap",
]
