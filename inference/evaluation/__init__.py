"""A trained program, judged and used: log likelihoods, bounds, samples, reconstructions."""

from .evaluation import (
    Evaluation,
    enumerated_latents,
    evaluate,
    evaluate_batches,
    log_likelihood,
    mean_and_error,
)
from .predictive import decode, discrete_latents, encode, reconstruct, sample

__all__ = [
    "Evaluation",
    "decode",
    "discrete_latents",
    "encode",
    "enumerated_latents",
    "evaluate",
    "evaluate_batches",
    "log_likelihood",
    "mean_and_error",
    "reconstruct",
    "sample",
]
