"""Plots: tensors in, matplotlib figures out, without pyplot and its global state."""

from .blackboard import Equation, Term, blackboard
from .detection import roc_curve
from .gradients import gradient_variance, snr
from .images import grid, interpolation, manifold, pairs
from .information import information
from .latents import histogram, scatter
from .maps import picture_map
from .plate_diagram import Node, PlateDiagram
from .rates import rates
from .training import curves

__all__ = [
    "Equation",
    "Node",
    "PlateDiagram",
    "Term",
    "blackboard",
    "curves",
    "gradient_variance",
    "grid",
    "histogram",
    "information",
    "interpolation",
    "manifold",
    "pairs",
    "picture_map",
    "rates",
    "roc_curve",
    "scatter",
    "snr",
]
