"""Posteriors q(z | x): modules whose `forward(h)` returns a distribution over the latent.

`param_shape` is the shape of the `h` that a posterior needs from its encoder.
"""

from .normals import DiagonalNormal

__all__ = ["DiagonalNormal"]
