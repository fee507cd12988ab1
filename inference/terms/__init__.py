"""What one run of a program gives: its plates, particles, weights, and the terms of a bound."""

from .collect import collect
from .columns import check_one_bound_each, check_own_bounds
from .data_sites import Observations, Part, Unobserving, data_parts, density, differing
from .densities import check_densities, estimated_sites
from .divergence import closed_kl, kl_of_numbers, log_density_of_point
from .joined import joined, without_runs
from .layout import support_of
from .masks import check_same_masks, counted, numbers_of, otherwise_masked, which_count
from .nonfinite import explain_nonfinite
from .observed import log_px_of_each
from .particles import Particles, Way, find_particles, particle_nesting, plate_nesting
from .plates import Site, data_plate, is_deterministic, is_factor
from .runs import (
    Function,
    run,
    sample_sites,
    subsamples,
    trace_guide,
    trace_model,
    trace_prior,
    traces,
)
from .support import check_support, is_point, parameters_move
from .terms import Latent, Terms
from .trials import leaving_no_trace
from .weights import log_mean_exp, log_power_mean, mean_of_others, normalized, weighted
from .wrappers import inner

__all__ = [
    "Function",
    "Latent",
    "Observations",
    "Part",
    "Particles",
    "Site",
    "Terms",
    "Unobserving",
    "Way",
    "check_densities",
    "check_one_bound_each",
    "check_own_bounds",
    "check_same_masks",
    "check_support",
    "closed_kl",
    "collect",
    "counted",
    "data_parts",
    "data_plate",
    "density",
    "differing",
    "estimated_sites",
    "explain_nonfinite",
    "find_particles",
    "inner",
    "is_deterministic",
    "is_factor",
    "is_point",
    "joined",
    "kl_of_numbers",
    "leaving_no_trace",
    "log_density_of_point",
    "log_mean_exp",
    "log_power_mean",
    "log_px_of_each",
    "mean_of_others",
    "normalized",
    "numbers_of",
    "otherwise_masked",
    "parameters_move",
    "plate_nesting",
    "run",
    "sample_sites",
    "subsamples",
    "support_of",
    "trace_guide",
    "trace_model",
    "trace_prior",
    "traces",
    "particle_nesting",
    "which_count",
    "weighted",
    "without_runs",
]
