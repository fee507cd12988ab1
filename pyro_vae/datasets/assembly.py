"""From the arrays of your own data to a data set: what they are, in words, and in three parts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.likelihoods import ContinuousBernoulli, Normal

from .binarization import bernoulli_of, binarizer
from .classes import labels_of
from .conversion import hold_out
from .dataset import Dataset
from .labels import keep_labels, share_labels
from .layout import check_x_shape, laid_out
from .meaning import check_numbers, meaning_of
from .missing import check_missing, hide, of_what_is_there
from .origin import Origin
from .reading import Array
from .split import Split
from .standardization import mean_and_scale, standardized

__all__ = ["Builder", "Raw", "Wishes", "assembled", "likelihood_of", "scaled"]

Builder = Callable[[tuple[int, ...]], nn.Module]


@dataclass(frozen=True)
class Raw:
    """The arrays of one part as they are read: x (items, ...), and y (items, ...) if there are."""

    x: Array
    y: Array | None = None


@dataclass(frozen=True)
class Wishes:
    """What the caller asks for; see `arrays`."""

    scale: float | None = None
    standardize: bool = False
    x_shape: Sequence[int] | None = None
    binarize: str | None = None
    labels: int | None = None
    missing: float = 0.0

    def __post_init__(self) -> None:
        for name, kinds, kind in (
            ("scale", int | float | None, "a positive number"),
            ("missing", int | float, "a fraction from 0 to below 1"),
            ("labels", int | None, "a whole number"),
            ("standardize", bool, "True or False"),
        ):
            if not isinstance(getattr(self, name), kinds):
                raise ValueError(f"{name} must be {kind}, but is {getattr(self, name)!r}")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be a positive number, but is {self.scale}")
        if self.scale is not None and self.standardize:
            raise ValueError("give scale or standardize=True, not both")
        binarizer(self.binarize)
        check_missing(self.missing)
        check_x_shape(self.x_shape)


def assembled(
    name: str,
    source: str,
    raw: Mapping[str, Raw],
    wishes: Wishes,
    *,
    columns: Sequence[str] = (),
    label_column: str = "y",
    notes: Sequence[str] = (),
    grey: Builder = ContinuousBernoulli,
) -> Dataset:
    """A data set of its parts, or of a whole that is split 80/10/10.

    Args:
        name: What to call it.
        source: What names the data in the sentence of an error.
        raw: The arrays of "train", "test" and perhaps "valid", or of "", the whole.
        wishes: What the caller asks for.
        columns: What the columns of a table are called.
        label_column: What its column of labels is called.
        notes: What else to say of them.
        grey: The likelihood of numbers in [0, 1].
    """
    sources = {part: f"{source}, {part}" if part else source for part in raw}
    for part, found in raw.items():
        check_numbers(sources[part], found.x)
    meaning = meaning_of(
        source,
        [found.x for found in raw.values()],
        scale=wishes.scale,
        standardize=wishes.standardize,
    )
    counts = [len(found.x) for found in raw.values()]
    ys, about_y, names = labels_of(
        list(sources.values()), [found.y for found in raw.values()], counts
    )
    lacking = [part for part, y in zip(raw, ys, strict=True) if y is None]
    about_y += f" (none in {', '.join(lacking)})" if 0 < len(lacking) < len(raw) else ""
    parts, words = {}, [meaning.words]
    for (part, found), y in zip(raw.items(), ys, strict=True):
        dtype = np.float64 if wishes.standardize else np.float32
        x = scaled(found.x, meaning.scale, dtype)
        x, about = laid_out(sources[part], x, wishes.x_shape)
        if x.isinf().any():
            raise ValueError(f"{sources[part]} has numbers too large for float32; give a scale")
        parts[part] = Split(x, y)
        words += [about] if about and about not in words else []
    splits = _three(source, parts)
    _check_columns(source, splits, columns)
    words += _about_entries(splits, columns)
    origin = Origin(
        meaning.scale, meaning.is_grey, columns=tuple(columns), label_column=label_column
    )
    if wishes.standardize:
        mean, deviation = mean_and_scale(splits[0].x)
        origin = replace(origin, mean=mean, deviation=deviation)
        splits = standardized(splits)
        words.append(f"standardized by the training part{_spread(splits[0].x)}")
    splits = [hide(split, wishes.missing, seed) for seed, split in enumerate(splits)]
    train, valid, test = splits
    train = share_labels(keep_labels(train, wishes.labels, source))
    words += [f"{wishes.missing:.3g} of all entries hidden"] if wishes.missing else []
    words += [f"binarized ({wishes.binarize!r})"] if wishes.binarize else []
    about_y += f", {wishes.labels:,} of them kept for training" if wishes.labels else ""
    return binarizer(wishes.binarize)(
        Dataset(
            name,
            train,
            valid,
            test,
            likelihood_of([train, valid, test], grey, any_real=wishes.standardize),
            notes="; ".join([*words, about_y, *notes]),
            label_names=names,
            origin=origin,
        )
    )


def likelihood_of(splits: Sequence[Split], grey: Builder, *, any_real: bool) -> Builder:
    """That of zeros and ones, of numbers in [0, 1], or of any; of what is there if some lack.

    Args:
        splits: The data.
        grey: That of numbers in [0, 1].
        any_real: Whether they are of any real numbers, whatever the range of these.
    """
    xs = [split.x for split in splits]
    if any_real:
        return of_what_is_there(Normal, splits)
    if all(((x == 0) | (x == 1) | x.isnan()).all() for x in xs):
        return bernoulli_of(*splits)
    unit = all((((x >= 0) & (x <= 1)) | x.isnan()).all() for x in xs)
    return of_what_is_there(grey if unit else Normal, splits)


def scaled(x: Array, scale: float, dtype: type) -> Tensor:
    """The numbers of an array divided by a scale, in a tensor of its own."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as too large
        if scale != 1 and x.dtype.itemsize > 4:
            x = x / scale
            scale = 1
        found = torch.from_numpy(x.astype(dtype, order="C"))
    return found if scale == 1 else found.div_(scale)


def _three(source: str, parts: Mapping[str, Split]) -> list[Split]:
    if "" in parts:
        return hold_out(source, parts[""], 2)
    given = parts.get("valid")
    train, valid = (parts["train"], given) if given else hold_out(source, parts["train"], 1)
    return [train, valid, parts["test"]]


def _check_columns(source: str, splits: Sequence[Split], names: Sequence[str]) -> None:
    """Refuses columns of which nothing is known."""
    x = splits[0].x
    empty = x.isnan().flatten(1).all(0).nonzero()[:, 0].tolist()
    if empty and x.dim() == 2:
        raise ValueError(
            f"{source} has nothing but NaN in {_columns(empty, names)} of the training part, but "
            "expected some numbers in each; leave such columns out"
        )


def _about_entries(splits: Sequence[Split], names: Sequence[str]) -> list[str]:
    """What to say of missing entries and of columns that do not vary."""
    missing = sum(int(split.x.isnan().sum()) for split in splits)
    words = [f"{missing:,} entries missing (NaN)"] if missing else []
    x = splits[0].x
    if x.dim() == 2 and not (x.nan_to_num().abs() <= 1).all():
        highest, lowest = x.nan_to_num(-math.inf).amax(0), x.nan_to_num(math.inf).amin(0)
        if constant := (highest <= lowest).nonzero()[:, 0].tolist():
            words.append(f"{_columns(constant, names)} of the training part hold one value alone")
    return words


def _spread(x: Tensor) -> str:
    """How far standardized numbers reach, where that is far."""
    reach = float(x[~x.isnan()].abs().max())
    # At 30 the bound of a fresh VAE starts beyond -1e7 nats.
    return (
        f", up to {reach:.0f} deviations from the mean; ZeroImputed takes asinh of them"
        if reach > 10
        else ""
    )


def _columns(numbers: Sequence[int], names: Sequence[str]) -> str:
    shown = [repr(names[i]) if names else str(i) for i in numbers[:5]]
    more = [f"{len(numbers) - 5:,} more"] if len(numbers) > 5 else []
    return f"column{'s' if len(numbers) > 1 else ''} {', '.join([*shown, *more])}"
