"""What becomes of grey levels in [0, 1]: the argument `binarize` of the functions for images.

- `"dynamic"`: training images are drawn afresh from Bernoulli(x) whenever they are used, with
  torch's global generator; validation and test images once, so that evaluations repeat.
- `"static"`: every image is drawn once.
- `"threshold"`: x > 0.5.
- `None`: grey levels stay as they are.

What is drawn once has a fixed seed of its own. Binarized images have a Bernoulli likelihood that
starts at the mean of the training images. A missing entry, NaN, stays one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli

from .dataset import Dataset
from .missing import bernoulli, of_what_is_there
from .split import PARTS, Split

__all__ = ["bernoulli_of", "binarizer", "from_their_mean"]


def bernoulli_of(train: Split, *others: Split) -> Callable[[tuple[int, ...]], nn.Module]:
    """What builds the likelihood of data that are 0 or 1, starting at the mean of those there."""
    mean = train.x.nanmean(0).nan_to_num(0.5)
    return of_what_is_there(partial(Bernoulli, mean=mean), (train, *others))


def from_their_mean(
    likelihood: Callable[[tuple[int, ...]], nn.Module], *splits: Split
) -> Callable[[tuple[int, ...]], nn.Module]:
    """A likelihood of some of the data: a Bernoulli that began at the mean of all at theirs."""
    of_entries = likelihood.args[:1] if isinstance(likelihood, partial) else ()
    whole = of_entries[0] if of_entries else likelihood  # what may be missing
    begins = isinstance(whole, partial) and whole.func is Bernoulli and "mean" in whole.keywords
    return bernoulli_of(*splits) if begins else likelihood


def binarizer(binarize: str | None) -> Callable[[Dataset], Dataset]:
    """What binarizes a data set in one of the four ways.

    Raises:
        ValueError: If it is none of them, or later, if the data are not in [0, 1].
    """
    ways = {"dynamic": _dynamic, "static": _static, "threshold": _threshold, None: _grey}
    if binarize not in ways:
        known = ", ".join(map(repr, ways))
        raise ValueError(f"binarize must be one of {known}, but is {binarize!r}")
    return ways[binarize]


def _static(data: Dataset) -> Dataset:
    drawn = {}
    for seed, part in enumerate(PARTS):
        x = _levels(data, part)
        generator = torch.Generator().manual_seed(seed)
        drawn[part] = replace(getattr(data, part), x=bernoulli(x, generator=generator))
    return replace(data, **drawn, likelihood=bernoulli_of(*drawn.values()))


def _dynamic(data: Dataset) -> Dataset:
    complete = data.train.x.isfinite().all()
    train = replace(data.train, draw=torch.bernoulli if complete else bernoulli)
    likelihood = bernoulli_of(train, data.valid, data.test)
    return replace(_static(data), train=train, likelihood=likelihood)


def _threshold(data: Dataset) -> Dataset:
    cut = {}
    for part in PARTS:
        x = _levels(data, part)
        cut[part] = replace(getattr(data, part), x=(x > 0.5).to(x.dtype).where(~x.isnan(), x))
    return replace(data, **cut, likelihood=bernoulli_of(*cut.values()))


def _grey(data: Dataset) -> Dataset:
    return data


def _levels(data: Dataset, part: str) -> Tensor:
    x: Tensor = getattr(data, part).x
    there = x[~x.isnan()]
    if there.min() < 0 or there.max() > 1:
        raise ValueError(
            f"{data.name}: {part} lies in [{there.min():g}, {there.max():g}], but only grey levels "
            "in [0, 1] can be binarized; give the scale that brings them there, or binarize=None"
        )
    return x
