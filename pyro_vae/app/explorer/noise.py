"""Draws made from given noise, so that they are functions of it."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import TransformedDistribution

from pyro_vae.distributions import FlowDistribution, TokenSequences
from pyro_vae.inference.terms import inner, support_of

__all__ = ["drawn", "mean_and_deviation", "shown"]

Shape = tuple[int, ...]


def mean_and_deviation(fn: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of each number; None where a distribution knows none."""
    if support_of(fn).is_discrete:
        return None
    try:
        return fn.mean, fn.stddev
    except (NotImplementedError, AttributeError):
        return None


def drawn(name: str, fn: Any, noise: Tensor) -> tuple[Tensor, Shape | None]:
    """A draw by standard noise, and the shape that the noise must have; None if it takes none.

    Where numbers are independent the draw is mean + deviation * noise. Flows map that of their base
    distribution. A discrete value is the most probable one, and where only a mean is known, that.

    Args:
        name: Of the site.
        fn: Its distribution.
        noise: Of that shape, or a single zero.

    Raises:
        ValueError: If it is none of these.
    """
    bare = inner(fn)
    if support_of(fn).is_discrete:
        return most_probable(fn), None
    if isinstance(bare, dist.Delta):
        return fn.mean, None
    if isinstance(bare, FlowDistribution):
        value, shape = drawn(name, bare.dist.base.expand(bare.batch_shape), noise)
        return bare.dist.transform.inv(value), shape
    if isinstance(fn, TransformedDistribution):
        value, shape = drawn(name, fn.base_dist, noise)
        for transform in fn.transforms:
            value = transform(value)
        return value, shape
    if isinstance(bare, dist.LowRankMultivariateNormal):
        shape = (*bare.loc.shape[:-1], bare.cov_factor.shape[-1] + bare.loc.shape[-1])
        shared, own = noise.expand(shape).split([bare.cov_factor.shape[-1], bare.loc.shape[-1]], -1)
        common = (bare.cov_factor @ shared.unsqueeze(-1)).squeeze(-1)
        return bare.loc + common + bare.cov_diag.sqrt() * own, shape
    if isinstance(bare, dist.MultivariateNormal):
        shape = tuple(bare.loc.shape)
        turned = (bare.scale_tril @ noise.expand(shape).unsqueeze(-1)).squeeze(-1)
        return bare.loc + turned, shape
    moments = mean_and_deviation(fn)
    if moments is not None:
        shape = tuple(torch.broadcast_shapes(*(m.shape for m in moments)))
        return moments[0] + moments[1] * (noise.reshape(shape) if noise.dim() else noise), shape
    try:
        return fn.mean, None
    except (NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"the guide draws {name!r} from a {type(bare).__name__}, which cannot be made from "
            "Normal noise; take a posterior such as DiagonalNormal"
        ) from error


def shown(fn: Any) -> Tensor:
    """What is shown of data: their mean; classes and tokens, which have none, the most probable."""
    if isinstance(inner(fn), TokenSequences):
        return _greedy(fn)
    if isinstance(inner(fn), dist.Categorical):
        return most_probable(fn)
    try:
        return fn.mean
    except NotImplementedError:
        return most_probable(fn)


def most_probable(fn: Any) -> Tensor:
    """The mode of a discrete distribution."""
    bare = inner(fn)
    if isinstance(bare, dist.OneHotCategorical):
        probs = bare.probs
        classes = torch.arange(probs.shape[-1], device=probs.device)
        return (probs.argmax(-1, keepdim=True) == classes).to(probs.dtype)
    try:
        return fn.mode
    except NotImplementedError:
        return fn.mean


def _greedy(fn: TokenSequences) -> Tensor:
    """The most probable next tokens, (..., T), -1 behind the end mark, in always the same steps."""
    h = fn.h.reshape(math.prod(fn.batch_shape), fn.h.shape[-1])
    tokens = torch.full((len(h), *fn.event_shape), -1, device=h.device)
    goes_on = torch.ones(len(h), dtype=torch.bool, device=h.device)
    for t, logits in enumerate(fn.model.conditionals(h, tokens)):
        found = logits.argmax(-1)
        tokens[:, t] = torch.where(goes_on, found, -1)
        if fn.model.end is not None:
            goes_on = goes_on & (found != fn.model.end)
    return tokens.reshape(*fn.batch_shape, *fn.event_shape)
