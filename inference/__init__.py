"""Inference for programs: SVI, estimators of the bound, schedules, evaluation.

It sees model and guide as Pyro functions and traces, never a model class.
"""

if not __name__.startswith("pyro_vae."):  # a second copy of every class would follow
    raise ImportError("import pyro_vae.inference, not inference: it is installed inside pyro_vae")

from .comparison import Comparison, compare
from .estimators import (
    CIWAE,
    IMQ,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    RBF,
    STL,
    VIMCO,
    DReG,
    Estimator,
    LeaveOneOut,
    MovingAverage,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
)
from .evaluation import (
    Evaluation,
    decode,
    encode,
    evaluate,
    log_likelihood,
    mean_and_error,
    reconstruct,
    sample,
)
from .graphs import Compile
from .schedules import constant, cosine, cyclical, linear
from .terms import Latent, Terms
from .training import SVI, Fit, fit

__all__ = [
    "CIWAE",
    "Comparison",
    "IMQ",
    "IWAE",
    "MIWAE",
    "MMD",
    "PIWAE",
    "RBF",
    "STL",
    "SVI",
    "VIMCO",
    "Compile",
    "DReG",
    "Estimator",
    "Evaluation",
    "Fit",
    "Latent",
    "LeaveOneOut",
    "MovingAverage",
    "Renyi",
    "ReweightedWakeSleep",
    "ScoreFunction",
    "Terms",
    "TotalCorrelation",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "compare",
    "constant",
    "cosine",
    "cyclical",
    "decode",
    "encode",
    "evaluate",
    "fit",
    "linear",
    "log_likelihood",
    "mean_and_error",
    "reconstruct",
    "sample",
]
