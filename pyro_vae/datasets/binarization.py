"""What becomes of grey levels in [0, 1]: the argument `binarize` of the functions for images.

- `"dynamic"`: training images are drawn afresh from Bernoulli(x) whenever they are used, with
  torch's global generator; validation and test images once, so that evaluations repeat.
- `"static"`: every image is drawn once.
- `"threshold"`: x > 0.5.
- `None`: grey levels stay as they are.

What is drawn once has a fixed seed of its own. Binarized images have a Bernoulli likelihood that
starts at the mean of the training images.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli

from .split import PARTS, Dataset, Split

__all__ = ["bernoulli_of", "binarizer"]


def bernoulli_of(train: Split) -> Callable[[tuple[int, ...]], nn.Module]:
    """What builds the likelihood of data that are 0 or 1, starting at their mean."""
    return partial(Bernoulli, mean=train.x.mean(0))


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
        drawn[part] = replace(getattr(data, part), x=torch.bernoulli(x, generator=generator))
    return replace(data, **drawn, likelihood=bernoulli_of(drawn["train"]))


def _dynamic(data: Dataset) -> Dataset:
    train = replace(data.train, draw=torch.bernoulli)
    return replace(_static(data), train=train, likelihood=bernoulli_of(train))


def _threshold(data: Dataset) -> Dataset:
    cut = {}
    for part in PARTS:
        x = _levels(data, part)
        cut[part] = replace(getattr(data, part), x=(x > 0.5).to(x.dtype))
    return replace(data, **cut, likelihood=bernoulli_of(cut["train"]))


def _grey(data: Dataset) -> Dataset:
    return data


def _levels(data: Dataset, part: str) -> Tensor:
    x: Tensor = getattr(data, part).x
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"{data.name}: {part} lies in [{x.min():g}, {x.max():g}], but only grey levels in "
            "[0, 1] can be binarized; give the scale that brings them there, or binarize=None"
        )
    return x
