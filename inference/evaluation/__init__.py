"""A trained program, judged and used: log likelihoods, bounds, samples, reconstructions."""

from .active_units import ActiveUnits, active_units
from .code_usage import CodeUsage, code_usage, usage_in
from .evaluation import (
    Evaluation,
    enumerated_latents,
    evaluate,
    evaluate_batches,
    log_likelihood,
    mean_and_error,
)
from .picture_quality import diversity, frechet_distance, peak_snr, sharpness
from .predictive import decode, discrete_latents, encode, reconstruct, sample
from .true_bounds import points_of_guide

__all__ = [
    "ActiveUnits",
    "CodeUsage",
    "Evaluation",
    "active_units",
    "code_usage",
    "decode",
    "discrete_latents",
    "diversity",
    "encode",
    "enumerated_latents",
    "evaluate",
    "evaluate_batches",
    "frechet_distance",
    "log_likelihood",
    "mean_and_error",
    "peak_snr",
    "points_of_guide",
    "reconstruct",
    "sample",
    "sharpness",
    "usage_in",
]
