"""Inference for programs: SVI, estimators of the bound, schedules, evaluation.

It sees model and guide as Pyro functions and traces, never a model class.
"""

if not __name__.startswith("pyro_vae."):  # a second copy of every class would follow
    raise ImportError("import pyro_vae.inference, not inference: it is installed inside pyro_vae")

from .capture import Compile
from .compare import compare
from .comparison import Comparison
from .dreg import DReG
from .elbo import Trace_ELBO, TraceMeanField_ELBO
from .estimator import Estimator, Latent, Terms
from .evaluation import Evaluation, evaluate, log_likelihood, mean_and_error
from .fit import fit
from .iwae import IWAE
from .miwae import CIWAE, MIWAE, PIWAE
from .mmd import IMQ, MMD, RBF
from .predictive import decode, encode, reconstruct, sample
from .progress import Fit
from .renyi import Renyi
from .schedules import constant, cosine, cyclical, linear
from .score_function import LeaveOneOut, MovingAverage, ScoreFunction
from .stl import STL
from .svi import SVI
from .total_correlation import TotalCorrelation
from .vimco import VIMCO
from .wake_sleep import ReweightedWakeSleep

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
