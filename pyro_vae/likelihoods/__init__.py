"""Likelihoods p(x | z): modules whose `forward(h)` returns a distribution over the data.

`param_shape` is the shape of the `h` that a likelihood needs from its decoder.

The names here are those in the `__all__` of the files: to add a likelihood is to add its file. The
imports below tell them to editors and type checkers, which do not run code.
"""

from typing import TYPE_CHECKING

from pyro_vae.exports import export_files

if TYPE_CHECKING:
    from .classes import Nominal as Nominal
    from .classes import Ordinal as Ordinal
    from .counts import NegativeBinomial as NegativeBinomial
    from .counts import Poisson as Poisson
    from .counts import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
    from .each_step import EachStep as EachStep
    from .levels import Binomial as Binomial
    from .levels import Categorical as Categorical
    from .logistic import DiscretizedLogistic as DiscretizedLogistic
    from .logistic import DiscretizedLogisticMixture as DiscretizedLogisticMixture
    from .mixed import Mixed as Mixed
    from .optimal import OptimalNormal as OptimalNormal
    from .pixelcnn import PixelCNNLikelihood as PixelCNNLikelihood
    from .real import HeteroscedasticNormal as HeteroscedasticNormal
    from .real import Laplace as Laplace
    from .real import LogNormal as LogNormal
    from .real import Normal as Normal
    from .real import StudentT as StudentT
    from .recurrent_tokens import RecurrentTokens as RecurrentTokens
    from .transformer_tokens import TransformerTokens as TransformerTokens
    from .unit import Bernoulli as Bernoulli
    from .unit import Beta as Beta
    from .unit import ContinuousBernoulli as ContinuousBernoulli

__all__ = export_files(__name__)
