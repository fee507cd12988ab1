"""Likelihoods p(x | z): modules whose `forward(h)` returns a distribution over the data.

`param_shape` is the shape of the `h` that a likelihood needs from its decoder.
"""

from .classes import Nominal, Ordinal
from .counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from .each_step import EachStep
from .levels import Binomial, Categorical
from .logistic import DiscretizedLogistic, DiscretizedLogisticMixture
from .mixed import Mixed
from .optimal import OptimalNormal
from .real import HeteroscedasticNormal, Laplace, LogNormal, Normal, StudentT
from .unit import Bernoulli, Beta, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "EachStep",
    "HeteroscedasticNormal",
    "Laplace",
    "LogNormal",
    "Mixed",
    "NegativeBinomial",
    "Nominal",
    "Normal",
    "OptimalNormal",
    "Ordinal",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
