"""Likelihoods p(x | z): modules whose `forward(h)` returns a distribution over the data.

`param_shape` is the shape of the `h` that a likelihood needs from its decoder.
"""

from .pixels import Bernoulli, Binomial, ContinuousBernoulli, Normal

__all__ = ["Bernoulli", "Binomial", "ContinuousBernoulli", "Normal"]
