"""A part of a data set and how it is passed over: `Split`."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .data_source import DataSource, Shard, check_pass, shard_of
from .epoch_order import epoch_order
from .ragged import shuffled_by_width, widths_of

__all__ = ["PARTS", "Split"]

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set, in memory: data x and perhaps labels y.

    `source` gives it as named tensors, as those are that lie elsewhere.

    Args:
        x: The data, (N, *x_shape); NaN where an entry is missing or a sequence has ended.
        y: Labels: classes, int64 (N,), counted from 0, with -1 for a label that is missing; or
            conditions, floating (N, *y_shape), with NaN for what is missing.
        draw: Applied to each batch of x afresh; None leaves the data as they are.
        labelled: The share of a batch that has labels, for semi-supervised training, where 100
            labels among 50,000 would rarely be met; 0 leaves them where they are. See `batches`.
        ragged: Whether x are sequences of tokens, integers (N, T), with -1 behind the end of each.
            A batch is then (N, t), cut to its longest sequence or a little more, and a shuffled
            pass puts sequences of similar length into one batch, so that little of it is empty.

    Raises:
        ValueError: If `labelled` is not from 0 to below 1, or `ragged` data are no such integers.
    """

    x: Tensor
    y: Tensor | None = None
    draw: Callable[[Tensor], Tensor] | None = None
    labelled: float = 0.0
    ragged: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.labelled < 1:
            raise ValueError(f"labelled must be a share from 0 to below 1, but is {self.labelled}")
        if self.ragged and (self.x.dim() != 2 or self.x.is_floating_point()):
            raise ValueError(
                f"ragged data are integers (N, T), but x is of shape {tuple(self.x.shape)} and "
                f"dtype {self.x.dtype}; leave ragged=True out"
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one datum, and of one label if there are any, by name."""
        return {name: tuple(part.shape[1:]) for name, part in self._parts.items()}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The type of data, and of labels if there are any, by name."""
        return {name: part.dtype for name, part in self._parts.items()}

    def source(self, *, labels: bool = True) -> DataSource:
        """These data as named tensors, with a draw of x for each batch, and the share of labels.

        Args:
            labels: Whether the labels are among them, if there are any.
        """
        return _SplitSource(self if labels else replace(self, y=None))

    @property
    def _parts(self) -> dict[str, Tensor]:
        return {"x": self.x} if self.y is None else {"x": self.x, "y": self.y}

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        labels: bool = False,
        shard: Shard = (0, 1),
    ) -> Iterator[tuple[Tensor, ...]]:
        """Passes once over the data in tuples `(x,)`, or `(x, y)`; the last batch may be smaller.

        With labels of which some are known and some are not, and if `labelled` is not 0, each batch
        begins with that share of labelled items, taken in turn and again from the first, and the
        rest passes once over the others. All batches then have one size: some of the others come
        twice to fill the last.

        Ragged data in random order come in full batches of similar lengths, and a last one of what
        is left, of any lengths. The widths of batches are few, so that a training step is captured
        seldom.

        Args:
            batch_size: The items of a batch.
            shuffle: Whether to take the items in random order.
            generator: The source of that order; None is torch's global generator.
            labels: Whether to give the labels, too.
            shard: Which share of each batch to give; see `DataSource.batches`.

        Raises:
            ValueError: If `batch_size` is too small, or labels are asked for and there are none.
        """
        if labels and self.y is None:
            raise ValueError("the data have no labels; leave labels=True out or give them a y")
        mixed = labels and self._is_mixed
        if batch_size < 1 + mixed:
            raise ValueError(f"batch_size must be at least {1 + mixed}, but is {batch_size}")
        indices = self._indices(batch_size, shuffle, generator, mixed, shard)
        return (self._batch(index, labels) for index in indices)

    def num_batches(self, batch_size: int, *, labels: bool = False) -> int:
        """The number of batches that `batches` gives."""
        if labels and self._is_mixed:
            return math.ceil(
                int(self._unknown.sum()) / (batch_size - self._labelled_in(batch_size))
            )
        return math.ceil(len(self) / batch_size)

    def by_length(self) -> tuple["Split", Tensor]:
        """Ragged data with the shortest first, and the row in which each datum stands then, (N,).

        Batches in order are then narrow, and what is computed of them is brought back into the
        order of these data by indexing it with the rows.
        """
        order = self._widths.argsort(stable=True).to(self.x.device)
        y = None if self.y is None else self.y[order]
        return replace(self, x=self.x[order], y=y), order.argsort()

    def to(self, device: torch.device | str) -> "Split":
        """Returns the same split on `device`."""
        return replace(self, x=self.x.to(device), y=None if self.y is None else self.y.to(device))

    def _indices(
        self,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        mixed: bool,
        shard: Shard,
    ) -> Iterable[Any]:
        """What picks the items of each batch."""
        index, count = shard
        if mixed:
            rows: Iterable[Tensor] = self._mixed(self._order(shuffle, generator), batch_size)
        elif shuffle and self.ragged:
            rows = shuffled_by_width(self._widths, batch_size, generator=generator)
        elif shuffle:
            rows = self._order(shuffle, generator).split(batch_size)
        else:  # slices give views, not copies
            starts = range(0, len(self), batch_size)
            return (slice(start + index, start + batch_size, count) for start in starts)
        return (each[shard_of(shard)] for each in rows)

    def _order(self, shuffle: bool, generator: torch.Generator | None) -> Tensor:
        return epoch_order(len(self), shuffle=shuffle, generator=generator).to(self.x.device)

    def _labelled_in(self, batch_size: int) -> int:
        return min(max(1, round(self.labelled * batch_size)), batch_size - 1)

    @property
    def _unknown(self) -> Tensor:
        """Whether the label of each item, or a part of it, is missing, (N,)."""
        if self.y is None:
            return torch.zeros(len(self), dtype=torch.bool, device=self.x.device)
        if self.y.is_floating_point():
            return self.y.isnan().reshape(len(self), -1).any(1)
        return self.y < 0

    @property
    def _is_mixed(self) -> bool:
        return self.labelled > 0 and 0 < int(self._unknown.sum()) < len(self)

    def _mixed(self, order: Tensor, batch_size: int) -> Tensor:
        """The indices of each batch, (num_batches, batch_size)."""
        unknown = self._unknown[order]
        rows, labelled = self.num_batches(batch_size, labels=True), self._labelled_in(batch_size)
        known = _in_turn(order[~unknown], rows, labelled)
        others = _in_turn(order[unknown], rows, batch_size - labelled)
        return torch.cat([known, others], 1)

    @cached_property
    def _widths(self) -> Tensor:
        """On the CPU, where to look at a width does not wait for a GPU."""
        return widths_of(self.x)

    def _width(self, index: Any) -> int:
        """The width of a batch of ragged data."""
        widths = self._widths[index.cpu() if isinstance(index, Tensor) else index]
        return int(widths.max()) if len(widths) else self.x.shape[1]

    def _batch(self, index: Any, labels: bool) -> tuple[Tensor, ...]:
        width = self._width(index) if self.ragged else None
        if isinstance(index, Tensor):
            index = index.to(self.x.device)
        x = self.x[index] if width is None else self.x[index, :width]
        x = x if self.draw is None else self.draw(x)
        return (x, self.y[index]) if labels and self.y is not None else (x,)


class _SplitSource(DataSource):
    """A `Split` as named tensors."""

    def __init__(self, split: Split) -> None:
        self.split, self.labels = split, split.y is not None

    def __len__(self) -> int:
        return len(self.split)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self.split.shapes

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        return self.split.dtypes

    @property
    def is_plain(self) -> bool:
        return not (self.labels and self.split._is_mixed)

    def num_batches(self, size: int) -> int:
        return self.split.num_batches(size, labels=self.labels)

    def batches(
        self, size: int, *, seed: int | None = None, shard: Shard = (0, 1)
    ) -> Iterator[dict[str, Tensor]]:
        check_pass(size, shard)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        batches = self.split.batches(
            size, shuffle=seed is not None, generator=generator, labels=self.labels, shard=shard
        )
        return (dict(zip(self.shapes, batch, strict=True)) for batch in batches)


def _in_turn(index: Tensor, rows: int, columns: int) -> Tensor:
    turn = torch.arange(rows * columns, device=index.device) % len(index)
    return index[turn].view(rows, columns)
