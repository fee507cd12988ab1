"""Priors p(z): modules whose `forward()` returns a distribution over one latent `z`."""

from .standard_normal import StandardNormal

__all__ = ["StandardNormal"]
