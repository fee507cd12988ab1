"""Priors p(z): modules whose `forward()` returns a distribution over one latent `z`.

`latent_dim` is the size of z. A prior that is made of the program's own parts has a method
`attach(encoder, posterior)`, which the program calls once it has them.
"""

from .autoregressive import AutoregressivePrior
from .flat import Flat
from .flow_prior import FlowPrior
from .gaussian_mixture import GaussianMixture
from .heavy_tails import Laplace, StudentT
from .one_hot import UniformOneHot, UniformRelaxedOneHot
from .standard_normal import StandardNormal
from .uniform_sphere import UniformSphere
from .vamp_prior import VampPrior

__all__ = [
    "AutoregressivePrior",
    "Flat",
    "FlowPrior",
    "GaussianMixture",
    "Laplace",
    "StandardNormal",
    "StudentT",
    "UniformOneHot",
    "UniformRelaxedOneHot",
    "UniformSphere",
    "VampPrior",
]
