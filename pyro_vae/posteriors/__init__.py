"""Posteriors q(z | x): modules whose `forward(h)` returns a distribution over the latent.

`param_shape` is the shape of the `h` that a posterior needs from its encoder.
"""

from .bounded_normal import BoundedNormal
from .delta import Delta
from .inverse_autoregressive_flow import InverseAutoregressiveFlow
from .normals import DiagonalNormal, FullNormal, LowRankNormal
from .one_hot import OneHot, RelaxedOneHot
from .power_spherical import PowerSpherical
from .spline_flow import SplineFlow

__all__ = [
    "BoundedNormal",
    "Delta",
    "DiagonalNormal",
    "FullNormal",
    "InverseAutoregressiveFlow",
    "LowRankNormal",
    "OneHot",
    "PowerSpherical",
    "RelaxedOneHot",
    "SplineFlow",
]
