"""Training, validation and test data of one shape: `Dataset`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from pyro_vae.likelihoods import Bernoulli

from .data_source import DataSource
from .origin import Origin
from .split import PARTS, Split
from .table_format import TableFormat
from .vocabulary import Vocabulary

__all__ = ["Dataset"]

Part = Any  # a Split or a DataSource; as a union, nobody could write `mnist().train.x`


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test data of one shape.

    Each part is a `Split` in memory, or a `DataSource` with data x, and perhaps labels y and others
    that a program takes by their names.

    Args:
        name: What to call the data.
        train: What to fit.
        valid: What to choose by.
        test: What to report.
        likelihood: The natural p(x | h) of such data: what builds it from `x_shape`.
        notes: What numbers and labels were taken for, in words; see `description`.
        classes: The number of classes of a `DataSource` that has such labels.
        vocabulary: Of sequences of tokens, integers (N, T), what each stands for.
        factors: What the factors are called that the data are made of, where those are known: each
            part then has a tensor `factors`, the value of each, int64 (N, K).
        label_names: What the classes 0, 1, ... are called, where they have names or other numbers.
        origin: What the file that the data come from measures in.
        table: Of rows of a table of mixed columns, what these are, to make cells of x again.

    Raises:
        ValueError: If the parts disagree about the shape of a datum or of a label, if labels lack,
            if a token is none of the vocabulary, or if factors are named that no part has.
    """

    name: str
    train: Part
    valid: Part
    test: Part
    likelihood: Callable[[tuple[int, ...]], nn.Module] = Bernoulli
    notes: str = ""
    classes: int | None = None
    vocabulary: Vocabulary | None = None
    factors: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    origin: Origin = Origin()
    table: TableFormat | None = None

    def __post_init__(self) -> None:
        for part in PARTS:
            self._check_part(part, getattr(self, part))
        if len(set(self._kinds_of_labels)) > 1:
            raise ValueError(
                f"{self.name}: the parts have labels of different kinds or shapes; number the "
                "classes from 0 on in all of them, or give all conditions of one shape"
            )

    def _check_part(self, part: str, data: Part) -> None:
        if not isinstance(data, Split | DataSource):
            raise TypeError(
                f"{self.name}: {part} is of type {type(data).__name__}, but must be a Split of "
                "tensors or a DataSource"
            )
        found = data.shapes.get("x")
        if found is None:
            raise ValueError(
                f"{self.name}: {part} has tensors {', '.join(data.shapes)}, but none called x; "
                "call one x, and the others as the program calls its parameters"
            )
        if found != self.x_shape:
            raise ValueError(
                f"{self.name}: an item of train has shape {self.x_shape}, but of {part} {found}; "
                "bring them to one shape"
            )
        if self.vocabulary is not None and isinstance(data, Split):
            _check_tokens(f"{self.name}: {part}", data, self.vocabulary)
        if self.factors:
            self._check_factors(part, data)
        unknown = self.classes is None and isinstance(data, DataSource)
        if unknown and "y" in data.dtypes and not data.dtypes["y"].is_floating_point:
            raise ValueError(
                f"{self.name}: {part} has classes for labels, but as they are not in memory it is "
                "not known how many; say so, as by Dataset(..., classes=10)"
            )
        if isinstance(data, Split) and data.y is not None and len(data.y) != len(data.x):
            raise ValueError(
                f"{self.name}: {part} has {len(data.x)} items, but {len(data.y)} labels; give each "
                "one"
            )

    def _check_factors(self, part: str, data: Part) -> None:
        shape, dtype = data.shapes.get("factors"), data.dtypes.get("factors")
        if shape != (len(self.factors),) or dtype is None or dtype.is_floating_point:
            raise ValueError(
                f"{self.name}: the factors are {', '.join(self.factors)}, but {part} has "
                + ("no tensor of that name" if shape is None else f"{dtype} of shape {shape}")
                + f"; give a tensor factors of whole numbers, (N, {len(self.factors)}), as by "
                "Tensors(x=x, factors=factors)"
            )

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.train.shapes["x"])

    @property
    def x_dtype(self) -> torch.dtype:
        """The type of the data."""
        return self.train.dtypes["x"]

    @property
    def y_shape(self) -> tuple[int, ...] | None:
        """The shape of one label: () of a class; None without labels."""
        return self._kinds_of_labels[0][1] if self._kinds_of_labels else None

    @property
    def num_classes(self) -> int | None:
        """One more than the largest class; None without labels or if they are conditions."""
        if self.classes is not None or any(real for real, _ in self._kinds_of_labels):
            return self.classes
        labels = [s.y for s in self._parts if isinstance(s, Split) and s.y is not None]
        return 1 + max(int(y.max()) for y in labels) if labels else None

    def label_number(self, label: int | str) -> int:
        """The number of a class, from its name, or from that number.

        Raises:
            ValueError: If no datum is of such a class.
        """
        parts = [part.y for part in self._parts if isinstance(part, Split) and part.y is not None]
        there = sorted({int(y) for part in parts for y in part.unique() if y >= 0})
        names = self.label_names
        if str(label) in names:
            return names.index(str(label))
        number = int(label) if str(label).isdecimal() and not names else None
        if number is None or number not in there:
            known = names or tuple(map(str, there))
            raise ValueError(
                f"{self.name} has no label {label!r}; its labels are {', '.join(known)}"
            )
        return number

    def label_name(self, number: int) -> str:
        """What a class is called; empty of a missing label, -1."""
        if number < 0:
            return ""
        return self.label_names[number] if self.label_names else str(number)

    @property
    def num_tokens(self) -> int | None:
        """The number of tokens of the vocabulary; None if there is none."""
        return None if self.vocabulary is None else len(self.vocabulary)

    @property
    def description(self) -> str:
        """The data in a sentence: how many, of what shape, and what they were taken for."""
        train, valid, test = (f"{len(getattr(self, part)):,}" for part in PARTS)
        return (
            f"{self.name}: {train} + {valid} + {test} items (train, valid, test) of shape "
            f"{self.x_shape}; {self.notes or self._about_labels}; natural likelihood "
            f"{self._likelihood_name}"
        )

    def to(self, device: torch.device | str) -> "Dataset":
        """Returns the same data set with what is in memory on `device`."""
        parts = {part: getattr(self, part) for part in PARTS}
        splits = {part: data for part, data in parts.items() if isinstance(data, Split)}
        moved: dict[str, Any] = {part: split.to(device) for part, split in splits.items()}
        return replace(self, **moved)

    @property
    def _about_labels(self) -> str:
        if self.y_shape is None:
            return "no labels"
        return (
            f"conditions of shape {self.y_shape}" if self.y_shape else f"{self.num_classes} classes"
        )

    @property
    def _likelihood_name(self) -> str:
        built = self.likelihood
        while isinstance(built, partial) and isinstance(built.func, partial | type):
            built = built.func
        return built.__name__ if isinstance(built, type) else type(built(self.x_shape)).__name__

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.train, self.valid, self.test

    @property
    def _kinds_of_labels(self) -> list[tuple[bool, tuple[int, ...]]]:
        """Whether they are real numbers, and their shape, for each part that has some."""
        parts = [part for part in self._parts if "y" in part.shapes]
        return [(p.dtypes["y"].is_floating_point, tuple(p.shapes["y"])) for p in parts]


def _check_tokens(source: str, data: Split, vocabulary: Vocabulary) -> None:
    if data.x.is_floating_point() or data.x.dim() != 2:
        raise ValueError(
            f"{source} has a vocabulary, but x of shape {tuple(data.x.shape)} and dtype "
            f"{data.x.dtype}; give ids of its tokens, int64 (N, T), with -1 behind the end of each"
        )
    if len(data) and not -1 <= int(data.x.min()) <= int(data.x.max()) < len(vocabulary):
        raise ValueError(
            f"{source} has tokens from {int(data.x.min())} to {int(data.x.max())}, but its "
            f"vocabulary has 0 to {len(vocabulary) - 1}, with -1 behind the end; give the "
            "vocabulary that numbered them"
        )
