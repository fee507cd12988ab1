"""Posteriors q(z | x): modules whose `forward(h)` returns a distribution over the latent.

`param_shape` is the shape of the `h` that a posterior needs from its encoder.

The names here are those in the `__all__` of the files: to add a posterior is to add its file. The
imports below tell them to editors and type checkers, which do not run code.
"""

from typing import TYPE_CHECKING

from pyro_vae.exports import export_files

if TYPE_CHECKING:
    from .batch_norm_normal import BatchNormNormal as BatchNormNormal
    from .bounded_normal import BoundedNormal as BoundedNormal
    from .delta import Delta as Delta
    from .fsq import FSQ as FSQ
    from .inverse_autoregressive_flow import InverseAutoregressiveFlow as InverseAutoregressiveFlow
    from .nearest_code import NearestCode as NearestCode
    from .nearest_code import SimVQ as SimVQ
    from .normals import DiagonalNormal as DiagonalNormal
    from .normals import FullNormal as FullNormal
    from .normals import LowRankNormal as LowRankNormal
    from .one_hot import OneHot as OneHot
    from .one_hot import RelaxedOneHot as RelaxedOneHot
    from .power_spherical import PowerSpherical as PowerSpherical
    from .residual_codes import ResidualCodes as ResidualCodes
    from .soft_bounded_normal import SoftBoundedNormal as SoftBoundedNormal
    from .softplus_normal import SoftplusNormal as SoftplusNormal
    from .spline_flow import SplineFlow as SplineFlow
    from .stochastic_code import StochasticCode as StochasticCode

__all__ = export_files(__name__)
