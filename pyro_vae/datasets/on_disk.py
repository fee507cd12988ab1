"""Data that stay on disk: the same numbers as in memory, read a batch at a time.

What they are taken for is judged by a sample, as looking at all would read all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .assembly import Builder, Wishes, likelihood_of, scaled
from .classes import labels_of
from .conversion import hold_out
from .data_source import DataSource
from .dataset import Dataset
from .layout import laid_out
from .meaning import check_numbers, meaning_of
from .reading import Array, Refusal, reading
from .split import Split

__all__ = ["Reader", "mapped", "read_as_one_goes"]

SAMPLE = 500  # rows, spread over a part, by which it is judged


@dataclass(frozen=True)
class Reader:
    """What reads rows of one part of the data.

    Args:
        count: How many rows there are.
        read: Gives those of some numbers, (N, ...).
        y: The labels of all rows, if there are any.
    """

    count: int
    read: Callable[[Array], Array]
    y: Array | None = None


def mapped(path: Path, y: Array | None) -> Reader:
    """The rows of an .npy file.

    Args:
        path: The file.
        y: Their labels, if there are any.
    """
    if path.suffix.lower() != ".npy":
        raise ValueError(
            f"{path} cannot be read a row at a time, but an .npy file can; save the array as one, "
            "by np.save, or leave in_memory=False out"
        )
    with reading(path):
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim < 2 or 0 in found.shape:
        raise Refusal(
            f"{path} has shape {found.shape}, but expected (items, ...) with at least one item and "
            "one feature"
        )
    return Reader(len(found), lambda rows: found[rows], y)


def read_as_one_goes(
    name: str,
    source: str,
    parts: Mapping[str, Reader],
    wishes: Wishes,
    *,
    notes: Sequence[str] = (),
    grey: Builder,
) -> Dataset:
    """A data set whose parts are read from disk a batch at a time.

    The other arguments, and how a whole is split, are those of `assembled`.

    Args:
        name: What to call it.
        source: What names the data in the sentence of an error.
        parts: The rows of "train", "test" and perhaps "valid", or of "", the whole.
        wishes: What the caller asks for.
        notes: What else to say of them.
        grey: The likelihood of numbers in [0, 1].

    Raises:
        ValueError: If the caller wants what takes all data at once, or they are no such data.
    """
    _check_wishes(source, wishes)
    samples = {part: reader.read(_spread(reader.count)) for part, reader in parts.items()}
    for part, sample in samples.items():
        check_numbers(f"{source}, {part}" if part else source, sample)
    meaning = meaning_of(source, list(samples.values()), scale=wishes.scale)
    ys, about_y, label_names = labels_of(
        [source] * len(parts), [r.y for r in parts.values()], [r.count for r in parts.values()]
    )
    rows = _three(source, {part: reader.count for part, reader in parts.items()})
    found = dict(zip(parts, ys, strict=True))
    splits = {}
    for part, (home, numbers) in rows.items():
        raw = _Raw(source, parts[home], meaning.scale, wishes.x_shape)
        splits[part] = _OnDisk(raw, numbers, found[home])
    shown = [Split(splits["train"].raw.numbers(sample)) for sample in samples.values()]
    labels = [y for y in ys if y is not None]
    of_classes = labels and not labels[0].is_floating_point()
    words = f"{meaning.words}, judged by {sum(map(len, samples.values())):,} of the items"
    return Dataset(
        name,
        splits["train"],
        splits["valid"],
        splits["test"],
        likelihood=likelihood_of(shown, grey, any_real=False),
        notes="; ".join([words, "read from disk a batch at a time", about_y, *notes]),
        classes=1 + max(int(y.max()) for y in labels) if of_classes else None,
        label_names=label_names,
    )


@dataclass(frozen=True)
class _Raw:
    """What reads rows of one part as numbers that a network takes."""

    source: str
    reader: Reader
    scale: float
    x_shape: Sequence[int] | None

    def __call__(self, rows: Tensor) -> Tensor:
        found = self.reader.read(rows.numpy())
        if found.dtype.kind == "f" and np.isinf(found).any():
            raise ValueError(
                f"{self.source} has infinite values among items {rows.tolist()[:5]} and so on, but "
                "expected numbers, or NaN where one is missing; replace or remove them"
            )
        return self.numbers(found)

    def numbers(self, found: Array) -> Tensor:
        return laid_out(self.source, scaled(found, self.scale, np.float32), self.x_shape)[0]


class _OnDisk(DataSource):
    """Rows of data on disk, with their labels in memory.

    Args:
        raw: What reads them.
        rows: Which rows of it these are.
        y: The labels of all its rows, if there are any.
    """

    def __init__(self, raw: _Raw, rows: Tensor, y: Tensor | None) -> None:
        self.raw, self.rows, self.y = raw, rows, y
        self.x_shape = tuple(raw(rows[:1]).shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        labels = {} if self.y is None else {"y": tuple(self.y.shape[1:])}
        return {"x": self.x_shape, **labels}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        return {"x": torch.float32, **({} if self.y is None else {"y": self.y.dtype})}

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        numbers = self.rows[rows]
        return {"x": self.raw(numbers), **({} if self.y is None else {"y": self.y[numbers]})}


def _check_wishes(source: str, wishes: Wishes) -> None:
    """Refuses what looks at all data before the first is used."""
    wanted = {
        "standardize": wishes.standardize,
        "binarize": wishes.binarize,
        "labels": wishes.labels,
        "missing": wishes.missing,
    }
    for name, value in wanted.items():
        if value:
            raise ValueError(
                f"{source}: in_memory=False reads a batch at a time, and cannot do {name}={value!r}"
                ", which takes all data at once; leave one of them out"
            )


def _spread(count: int) -> Array:
    """The numbers of some rows, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))


def _three(source: str, counts: Mapping[str, int]) -> dict[str, tuple[str, Tensor]]:
    """Where train, valid and test come from, and which rows they are, as in memory."""
    rows = {part: torch.arange(count) for part, count in counts.items()}
    if "" in rows:
        parts = hold_out(source, Split(rows[""]), 2)
        return {p: ("", s.x) for p, s in zip(("train", "valid", "test"), parts, strict=True)}
    found = {part: (part, rows[part]) for part in rows}
    if "valid" not in rows:
        train, valid = hold_out(source, Split(rows["train"]), 1)
        found |= {"train": ("train", train.x), "valid": ("train", valid.x)}
    return found
