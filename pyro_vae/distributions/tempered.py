"""Distributions with their standard deviation scaled: what a temperature makes of them."""

import math
from typing import Any

import pyro.distributions as dist

from .normal_mixture import NormalMixture
from .reshaped import Reshaped

__all__ = ["tempered"]

# The log of the components' scale at temperature 0: in float32 adding it to a mean changes nothing,
# and the scale is still above 0, as a Normal's must be.
_LOG_OF_NOTHING = -80.0


def tempered(fn: Any, temperature: float) -> Any:
    """A distribution with its standard deviation times a temperature; None where it has no such.

    Of Normals of any covariance, of `Laplace` and `StudentT`, whose location stays, and of mixtures
    of Normals, whose components' means stay. At temperature 0 it is a point, at the location.
    """
    if isinstance(fn, dist.Independent):
        base = tempered(fn.base_dist, temperature)
        return None if base is None else base.to_event(fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.MaskedDistribution):
        base = tempered(fn.base_dist, temperature)
        return None if base is None else base.mask(fn._mask)
    if type(fn).__name__ == "ExpandedDistribution":  # which Pyro does not export
        base = tempered(fn.base_dist, temperature)
        return None if base is None else base.expand(fn.batch_shape)
    if isinstance(fn, Reshaped):
        base = tempered(fn.base_dist, temperature)
        return None if base is None else Reshaped(base, fn.event_shape)
    if isinstance(fn, NormalMixture):
        shift = math.log(temperature) if temperature else _LOG_OF_NOTHING
        scale = fn.log_scale + shift if temperature else fn.log_scale.new_full((), shift)
        return NormalMixture(fn.logits, fn.loc, scale.expand_as(fn.log_scale))
    if not isinstance(fn, _LOCATED):
        return None
    if not temperature:
        return dist.Delta(fn.loc, event_dim=fn.event_dim)
    return _scaled(fn, temperature)


_LOCATED = (
    dist.Normal,
    dist.Laplace,
    dist.StudentT,
    dist.MultivariateNormal,
    dist.LowRankMultivariateNormal,
)


def _scaled(fn: Any, temperature: float) -> Any:
    if isinstance(fn, dist.StudentT):
        return dist.StudentT(fn.df, fn.loc, temperature * fn.scale)
    if isinstance(fn, dist.Normal | dist.Laplace):
        return type(fn)(fn.loc, temperature * fn.scale)
    if isinstance(fn, dist.MultivariateNormal):
        return dist.MultivariateNormal(fn.loc, scale_tril=temperature * fn.scale_tril)
    factor, diagonal = temperature * fn.cov_factor, temperature**2 * fn.cov_diag
    return dist.LowRankMultivariateNormal(fn.loc, factor, diagonal)
