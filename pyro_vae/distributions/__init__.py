"""Distributions that Pyro lacks, and that more than one prior, posterior or program is made of."""

from .codes import CodeBook, CodePoint, CodesDistribution, RelaxedCodes, StochasticCodes
from .estimated_density import EstimatedDensity, is_estimated
from .flow import FlowDistribution, zuko
from .normal_mixture import NormalMixture
from .one_hot import OneHotDistribution, RelaxedOneHotDistribution
from .power_spherical import PowerSphericalDistribution
from .reshaped import Reshaped, reshaped
from .uniform_sphere import UniformSphereDistribution

__all__ = [
    "EstimatedDensity",
    "CodeBook",
    "CodePoint",
    "CodesDistribution",
    "FlowDistribution",
    "NormalMixture",
    "OneHotDistribution",
    "PowerSphericalDistribution",
    "RelaxedCodes",
    "RelaxedOneHotDistribution",
    "Reshaped",
    "StochasticCodes",
    "UniformSphereDistribution",
    "is_estimated",
    "reshaped",
    "zuko",
]
