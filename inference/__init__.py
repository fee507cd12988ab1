"""Inference for programs: SVI, estimators of the bound, schedules, evaluation.

It sees model and guide as Pyro functions and traces, never a model class. The classes that the room
`estimators` exports are public here as well.
"""

if not __name__.startswith("pyro_vae."):  # a second copy of every class would follow
    raise ImportError("import pyro_vae.inference, not inference: it is installed inside pyro_vae")

from . import estimators
from .applications import (
    ROC,
    Imputation,
    anomaly_scores,
    augment,
    impute,
    likelihood_regret,
    linear_probe,
    nearest_neighbours,
    projected,
    roc,
    typicality,
)
from .comparison import Comparison, compare
from .disentanglement import (
    beta_vae_score,
    codes_and_factors,
    dci,
    explicitness,
    factor_information,
    factor_vae_score,
    modularity,
    mutual_information_gap,
    sap,
)
from .estimators import *  # noqa: F403 (an estimator is listed in its room alone)
from .evaluation import (
    Evaluation,
    Information,
    Traversal,
    active_units,
    decode,
    diversity,
    encode,
    evaluate,
    frechet_distance,
    log_likelihood,
    mean_and_error,
    mutual_information,
    peak_snr,
    reconstruct,
    reconstruct_layers,
    sample,
    sharpness,
    traverse,
)
from .explanation import Explanation, explain
from .graphs import Compile
from .schedules import constant, cosine, cyclical, delayed, linear, warm_up
from .terms import Latent, Terms
from .training import SVI, Aggressive, Fit, Penalty, Spectral, fit

__all__ = [
    "Aggressive",
    "Comparison",
    "Compile",
    "Evaluation",
    "Explanation",
    "Fit",
    "Imputation",
    "Information",
    "Latent",
    "Penalty",
    "ROC",
    "SVI",
    "Spectral",
    "Terms",
    "Traversal",
    "active_units",
    "anomaly_scores",
    "augment",
    "beta_vae_score",
    "codes_and_factors",
    "compare",
    "constant",
    "cosine",
    "cyclical",
    "dci",
    "decode",
    "delayed",
    "diversity",
    "encode",
    "evaluate",
    "explain",
    "explicitness",
    "factor_information",
    "factor_vae_score",
    "fit",
    "frechet_distance",
    "impute",
    "likelihood_regret",
    "linear",
    "linear_probe",
    "log_likelihood",
    "mean_and_error",
    "modularity",
    "mutual_information",
    "mutual_information_gap",
    "nearest_neighbours",
    "peak_snr",
    "projected",
    "reconstruct",
    "reconstruct_layers",
    "roc",
    "sample",
    "sap",
    "sharpness",
    "traverse",
    "typicality",
    "warm_up",
    *(name for name in estimators.__all__ if isinstance(getattr(estimators, name), type)),
]
