"""Missing entries, which are NaN: how to hide some, draw past them, and leave them out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from pyro_vae.likelihoods import Mixed, Normal

from .split import Split

__all__ = ["bernoulli", "check_missing", "hide", "of_what_is_there"]

Builder = Callable[[tuple[int, ...]], nn.Module]


def check_missing(missing: float) -> None:
    """Refuses what is no share of entries to hide."""
    if not 0 <= missing < 1:
        raise ValueError(f"missing must be a fraction from 0 to below 1, but is {missing}")


def hide(split: Split, missing: float, seed: int) -> Split:
    """Hides entries completely at random, each with probability `missing`, by a fixed draw."""
    if not missing:
        return split
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(split.x.shape, generator=generator) < missing
    return replace(split, x=split.x.masked_fill(hidden, torch.nan))


def bernoulli(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Draws from Bernoulli(x); NaN stays NaN."""
    return torch.bernoulli(x.nan_to_num(), generator=generator).where(x.isfinite(), x)


def of_what_is_there(likelihood: Builder, splits: Sequence[Split]) -> Builder:
    """The likelihood, of the entries that are there if some are missing."""
    if not any(split.x.isnan().any() for split in splits):
        return likelihood
    # Mixed alone is Normal with a scale for each entry, and a run can write it down by its name.
    return Mixed if likelihood is Normal else partial(_mixed, likelihood)


def _mixed(likelihood: Builder, x_shape: tuple[int, ...]) -> nn.Module:
    return Mixed(x_shape, columns=[likelihood(x_shape)])
