"""What is averaged of x, number by number: a mean, or the probability of each class."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn.functional import one_hot

from pyro_vae.distributions import SideBySide
from pyro_vae.inference.terms import inner, support_of

__all__ = ["averages", "of_their_kinds"]


def averages(fn: Any, draw: Tensor | None = None) -> Tensor:
    """What to average over particles, for all numbers of x one after the other: (*batch, S).

    It is the mean of a number, and the probability of each class where x is classes.

    Args:
        fn: The distribution of x, or of what of it is drawn.
        draw: Its value, if that is averaged in place of the distribution's mean.
    """
    start, parts = 0, []
    flat = None if draw is None else draw.reshape(*fn.batch_shape, -1)
    for column, size in _columns(fn):
        values = None if flat is None else flat[..., start : start + size]
        found = _of_column(column, size, values)
        parts.append(found.expand(*fn.batch_shape, -1))
        start += size
    return torch.cat(parts, -1)


def of_their_kinds(fn: Any, averaged: Tensor) -> Tensor:
    """The numbers (N, D) that averages (N, S) stand for.

    Of classes it is the most probable one, and of counts and grey levels the nearest to the mean.
    """
    start, parts = 0, []
    for column, size in _columns(fn):
        leaf = inner(column)
        width = size * _num_classes(leaf)
        found = averaged[:, start : start + width]
        start += width
        if isinstance(leaf, Categorical):
            found = found.unflatten(-1, (size, -1)).argmax(-1).to(averaged)
        elif support_of(leaf).is_discrete:
            top = getattr(leaf, "top", 1)  # grey levels are k / top
            found = (found * top).round() / top
        parts.append(found)
    return torch.cat(parts, -1)


def _columns(fn: Any) -> Iterator[tuple[Any, int]]:
    """The distributions that x is made of, each with its numbers of x."""
    leaf = inner(fn)
    for column in leaf.columns if isinstance(leaf, SideBySide) else [fn]:
        yield column, column.event_shape.numel()


def _of_column(column: Any, size: int, values: Tensor | None) -> Tensor:
    """The averages of one distribution, (*batch, S), or of its values (*batch, size)."""
    leaf = inner(column)
    if isinstance(leaf, Categorical):
        if values is not None:
            return one_hot(values.long(), _num_classes(leaf)).to(leaf.logits).flatten(-2)
        probs = leaf.probs
        return probs.reshape(*probs.shape[: probs.dim() - column.event_dim - 1], -1)
    if values is not None:
        return values
    mean = _mean(leaf)
    return mean.reshape(*mean.shape[: mean.dim() - column.event_dim], size)


def _num_classes(leaf: Any) -> int:
    return leaf.logits.shape[-1] if isinstance(leaf, Categorical) else 1


def _mean(leaf: Any) -> Tensor:
    """The mean, or where there is none a draw, whose average is that of the distribution, too."""
    try:
        mean = leaf.mean
    except NotImplementedError:
        return leaf.sample()
    return mean if mean.isfinite().all() else leaf.sample()
