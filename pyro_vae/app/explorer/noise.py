"""Draws made from given noise, so that they are functions of it."""

import math
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import TransformedDistribution

from pyro_vae.inference.terms import inner, support_of

__all__ = ["drawn", "mean_and_deviation"]


def mean_and_deviation(fn: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of each number; None where a distribution knows none."""
    if support_of(fn).is_discrete:
        return None
    try:
        return fn.mean, fn.stddev
    except (NotImplementedError, AttributeError):
        return None


def drawn(name: str, fn: Any, noise: Tensor) -> tuple[Tensor, bool]:
    """A draw by standard noise, and whether it depends on it.

    Where numbers are independent the draw is mean + deviation * noise. Flows map that of their base
    distribution. A discrete value is the most probable one.

    Raises:
        ValueError: If it is none of these.
    """
    if support_of(fn).is_discrete:
        return fn.mode, False
    if isinstance(inner(fn), dist.Delta):
        return fn.mean, False
    if isinstance(fn, TransformedDistribution):
        base = fn.base_dist
        if noise.numel() == math.prod(base.shape()):
            noise = noise.reshape(base.shape())
        value, takes_noise = drawn(name, base, noise)
        for transform in fn.transforms:
            value = transform(value)
        return value, takes_noise
    if isinstance(fn, dist.MultivariateNormal | dist.LowRankMultivariateNormal):
        noise = noise.expand(fn.loc.shape)
        return fn.loc + (fn.scale_tril @ noise.unsqueeze(-1)).squeeze(-1), True
    moments = mean_and_deviation(fn)
    if moments is None:
        raise ValueError(
            f"the guide draws {name!r} from a {type(inner(fn)).__name__}, which cannot be made "
            "from Normal noise; take a posterior such as DiagonalNormal"
        )
    return moments[0] + moments[1] * noise, True
