"""Plots: tensors in, matplotlib figures out, without pyplot and its global state."""

from .detection import roc_curve
from .gradients import gradient_variance, snr
from .images import grid, interpolation, manifold, pairs
from .latents import histogram, scatter
from .maps import picture_map
from .rates import rates
from .training import curves

__all__ = [
    "curves",
    "gradient_variance",
    "grid",
    "histogram",
    "interpolation",
    "manifold",
    "pairs",
    "picture_map",
    "rates",
    "roc_curve",
    "scatter",
    "snr",
]
