"""The 8x8 handwritten digits of scikit-learn, as images and as sequences: no download."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pyro_vae.likelihoods import Bernoulli, Binomial

from .binarization import binarizer
from .conversion import cut, to_split
from .dataset import Dataset
from .labels import keep_labels
from .missing import bernoulli
from .split import PARTS, Split

__all__ = ["digit_columns", "digits"]


def digits(binarize: str | None = "dynamic", labels: int | None = None) -> Dataset:
    """The 8x8 handwritten digits that come with scikit-learn: nothing is downloaded.

    x is (1, 8, 8), levels 0 to 16 divided by 16, y is 0 to 9; a fixed permutation gives 1,297
    training, 200 validation and 300 test images. A level counts the black ones of 4x4 dots, so that
    a Binomial of 16 is its likelihood.

    Args:
        binarize: See `pyro_vae.datasets.binarization`.
        labels: How many training images keep their label; see `pyro_vae.datasets.labels`.

    Raises:
        ValueError: If `binarize` is not one of the four ways, or `labels` is no multiple of 10 or
            too large.

    Reference:
        Alpaydin and Kaynak, 1998, https://doi.org/10.24432/C50P49

    Example:
        >>> data = digits()
        >>> len(data.train), data.x_shape, data.num_classes
        (1297, (1, 8, 8), 10)
    """
    binarized = binarizer(binarize)
    from sklearn.datasets import load_digits

    found = load_digits()
    whole = to_split("digits", found.images, found.target, scale=16)
    train, valid, test = cut(whole, 1297, 200, 300)
    counts = partial(Binomial, total_count=16)
    return binarized(Dataset("digits", keep_labels(train, labels), valid, test, counts))


def digit_columns(binarize: str | None = "dynamic", *, ragged: bool = False) -> Dataset:
    """The digits read from left to right: sequences of 8 steps with 8 pixels, for dynamical models.

    x is (8, 8), steps first; all else is as in `digits`. The likelihood can also be built for one
    step, from (8,).

    Args:
        binarize: See `pyro_vae.datasets.binarization`.
        ragged: Whether a sequence ends where all further columns of the grey image are empty; NaN
            stands after the end.

    Example:
        >>> x = digit_columns(ragged=True).test.x
        >>> x[..., 0].isfinite().sum(-1).unique()
        tensor([5, 6, 7, 8])
    """
    data, grey = digits(binarize), digits(None)
    train, valid, test = (
        _steps(getattr(data, part), getattr(grey, part).x, ragged) for part in PARTS
    )
    # Not the one of images, which starts at their mean and so has their shape alone.
    likelihood = data.likelihood if binarize is None else Bernoulli
    return Dataset("digit_columns", train, valid, test, likelihood)


def _steps(split: Split, grey: Tensor, ragged: bool) -> Split:
    x = split.x.squeeze(1).mT  # (N, 8, 8), steps first
    if not ragged:
        return replace(split, x=x)
    ink = grey.sum((1, 2))  # (N, 8)
    ended = ink.flip(1).cumsum(1).flip(1) == 0
    draw = split.draw and bernoulli
    return replace(split, x=x.masked_fill(ended[..., None], torch.nan), draw=draw)
