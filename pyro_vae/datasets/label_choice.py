"""A data set without some of its labels, or with some alone, as for anomalies to be found."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .binarization import from_their_mean
from .conversion import take
from .dataset import Dataset
from .split import PARTS, Split

__all__ = ["only_labels", "without_labels"]

Label = int | str


def only_labels(data: Dataset, *labels: Label) -> Dataset:
    """The data that have one of these labels, in all parts.

    Classes keep their numbers, and their number stays. Data without a label are left out.

    Args:
        data: A data set in memory, whose labels are classes.
        labels: Which to keep: numbers, or names where the data have some.

    Raises:
        ValueError: If the data have no classes, or none of these, or a part would be empty.

    Example:
        >>> from pyro_vae.datasets import digits
        >>> only_labels(digits(), 1, 7).test.y.unique()
        tensor([1, 7])
    """
    numbers = _numbers("only_labels", data, labels)
    return _kept(data, f"labels {_listed(labels)} alone", lambda y: _is_one_of(y, numbers))


def without_labels(data: Dataset, *labels: Label) -> Dataset:
    """The data that have none of these labels, in all parts, such as all digits but the 3.

    Classes keep their numbers, and their number stays. Data without a label are left out, as they
    might be of any class.

    Args:
        data: A data set in memory, whose labels are classes.
        labels: Which to leave out: numbers, or names where the data have some.

    Raises:
        ValueError: If the data have no classes, or none of these, or a part would be empty.

    Example:
        >>> from pyro_vae.datasets import digits
        >>> without_labels(digits(), 0, 3).test.y.unique()
        tensor([1, 2, 4, 5, 6, 7, 8, 9])
    """
    numbers = _numbers("without_labels", data, labels)
    words = f"without labels {_listed(labels)}"
    return _kept(data, words, lambda y: (y >= 0) & ~_is_one_of(y, numbers))


def _kept(data: Dataset, words: str, keeps: Callable[[Tensor], Tensor]) -> Dataset:
    kept: dict[str, Any] = {}
    for part in PARTS:
        split = getattr(data, part)
        kept[part] = take(split, keeps(split.y))
        if not len(kept[part]):
            raise ValueError(f"{data.name}: no data are left in {part} {words}; keep more labels")
    notes = "; ".join([*([data.notes] if data.notes else []), words])
    likelihood = from_their_mean(data.likelihood, *kept.values())
    return replace(data, **kept, notes=notes, classes=data.num_classes, likelihood=likelihood)


def _numbers(user: str, data: Dataset, labels: Sequence[Label]) -> list[int]:
    """The numbers of classes that are numbered or named."""
    for part in PARTS:
        split = getattr(data, part)
        found = (
            "is not in memory"
            if not isinstance(split, Split)
            else "has no labels"
            if split.y is None
            else "has conditions for labels, and no classes"
            if split.y.is_floating_point()
            else ""
        )
        if found:
            raise ValueError(
                f"{data.name}: {part} {found}, but {user} chooses data in memory by their classes; "
                "give data with labels"
            )
    if not labels:
        raise ValueError(f"{user} is given no label; name one, as in {user}({data.name}(), 3)")
    return [data.label_number(label) for label in labels]


def _is_one_of(y: Tensor, numbers: Sequence[int]) -> Tensor:
    return torch.isin(y, torch.tensor(numbers))


def _listed(labels: Sequence[Label]) -> str:
    return ", ".join(map(str, labels))
