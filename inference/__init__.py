"""Inference for programs: SVI, estimators of the bound, schedules, evaluation.

It sees model and guide as Pyro functions and traces, never a model class.
"""

if not __name__.startswith("pyro_vae."):  # a second copy of every class would follow
    raise ImportError("import pyro_vae.inference, not inference: it is installed inside pyro_vae")

from .elbo import Trace_ELBO, TraceMeanField_ELBO
from .estimator import Estimator, Latent, Terms
from .evaluation import Evaluation, evaluate, log_likelihood, mean_and_error
from .fit import Fit, fit
from .schedules import constant, cosine, cyclical, linear
from .svi import SVI

__all__ = [
    "SVI",
    "Estimator",
    "Evaluation",
    "Fit",
    "Latent",
    "Terms",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "constant",
    "cosine",
    "cyclical",
    "evaluate",
    "fit",
    "linear",
    "log_likelihood",
    "mean_and_error",
]
