"""Distributions that Pyro lacks, and that more than one prior, posterior or program is made of."""

from .codes import CodeBook, CodePoint, CodesDistribution, RelaxedCodes, StochasticCodes
from .diffusion import DenoisingChain, DiffusionDistribution
from .estimated_density import EstimatedDensity, is_estimated
from .flow import FlowDistribution, zuko
from .noise import Noise, cosine_noise, linear_noise, log_snr_noise, noise_levels
from .normal_mixture import NormalMixture
from .normal_product import product_of_normals
from .one_hot import OneHotDistribution, RelaxedOneHotDistribution
from .power_spherical import PowerSphericalDistribution
from .reshaped import Reshaped, reshaped
from .side_by_side import SideBySide
from .tempered import tempered
from .token_sequences import TokenModel, TokenSequences
from .uniform_sphere import UniformSphereDistribution

__all__ = [
    "EstimatedDensity",
    "CodeBook",
    "CodePoint",
    "CodesDistribution",
    "DenoisingChain",
    "DiffusionDistribution",
    "FlowDistribution",
    "Noise",
    "NormalMixture",
    "OneHotDistribution",
    "PowerSphericalDistribution",
    "RelaxedCodes",
    "RelaxedOneHotDistribution",
    "Reshaped",
    "SideBySide",
    "StochasticCodes",
    "TokenModel",
    "TokenSequences",
    "UniformSphereDistribution",
    "cosine_noise",
    "is_estimated",
    "linear_noise",
    "log_snr_noise",
    "noise_levels",
    "product_of_normals",
    "reshaped",
    "tempered",
    "zuko",
]
