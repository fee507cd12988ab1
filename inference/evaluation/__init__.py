"""A trained program, judged and used: log likelihoods, bounds, samples, reconstructions."""

from .active_units import ActiveUnits, active_units
from .ancestral import another
from .code_usage import CodeUsage, code_usage, usage_in
from .evaluation import (
    Evaluation,
    each_once,
    enumerated_latents,
    evaluate,
    evaluate_batches,
    log_likelihood,
    mean_and_error,
)
from .information import Information, mutual_information, mutual_information_in
from .latent_numbers import rates_and_means
from .layers import reconstruct, reconstruct_layers
from .model_run import data_sites
from .picture_quality import diversity, frechet_distance, peak_snr, sharpness
from .predictive import decode, discrete_latents, encode, sample
from .temperature import Temperature
from .traversal import Traversal, traverse
from .true_bounds import check_true_weights, points_of_guide

__all__ = [
    "ActiveUnits",
    "CodeUsage",
    "Evaluation",
    "Information",
    "Temperature",
    "Traversal",
    "active_units",
    "another",
    "check_true_weights",
    "code_usage",
    "data_sites",
    "decode",
    "discrete_latents",
    "diversity",
    "each_once",
    "encode",
    "enumerated_latents",
    "evaluate",
    "evaluate_batches",
    "frechet_distance",
    "log_likelihood",
    "mean_and_error",
    "mutual_information",
    "mutual_information_in",
    "peak_snr",
    "points_of_guide",
    "rates_and_means",
    "reconstruct",
    "reconstruct_layers",
    "sample",
    "sharpness",
    "traverse",
    "usage_in",
]
