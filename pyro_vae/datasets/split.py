"""A part of a data set and how it is passed over: `Split`."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["PARTS", "Split"]

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Args:
        x: The data, (N, *x_shape); NaN where an entry is missing or a sequence has ended.
        y: Labels: classes, int64 (N,), counted from 0, with -1 for a label that is missing; or
            conditions, floating (N, *y_shape), with NaN for what is missing.
        draw: Applied to each batch of x afresh; None leaves the data as they are.
        labelled: The share of a batch that has labels, for semi-supervised training, where 100
            labels among 50,000 would rarely be met; 0 leaves them where they are. See `batches`.

    Raises:
        ValueError: If `labelled` is not from 0 to below 1.
    """

    x: Tensor
    y: Tensor | None = None
    draw: Callable[[Tensor], Tensor] | None = None
    labelled: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.labelled < 1:
            raise ValueError(f"labelled must be a share from 0 to below 1, but is {self.labelled}")

    def __len__(self) -> int:
        return len(self.x)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        labels: bool = False,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Passes once over the data in tuples `(x,)`, or `(x, y)`; the last batch may be smaller.

        With labels of which some are known and some are not, and if `labelled` is not 0, each batch
        begins with that share of labelled items, taken in turn and again from the first, and the
        rest passes once over the others. All batches then have one size: some of the others come
        twice to fill the last.

        Args:
            batch_size: The items of a batch.
            shuffle: Whether to take the items in random order.
            generator: The source of that order; None is torch's global generator.
            labels: Whether to give the labels, too.

        Raises:
            ValueError: If `batch_size` is too small, or labels are asked for and there are none.
        """
        if labels and self.y is None:
            raise ValueError("the data have no labels; leave labels=True out or give them a y")
        mixed = labels and self._is_mixed
        if batch_size < 1 + mixed:
            raise ValueError(f"batch_size must be at least {1 + mixed}, but is {batch_size}")
        indices: Iterable[Any]
        if mixed:
            indices = self._mixed(self._order(shuffle, generator), batch_size)
        elif shuffle:
            indices = self._order(shuffle, generator).split(batch_size)
        else:  # slices give views, not copies
            indices = (slice(i, i + batch_size) for i in range(0, len(self), batch_size))
        return (self._batch(index, labels) for index in indices)

    def num_batches(self, batch_size: int, *, labels: bool = False) -> int:
        """The number of batches that `batches` gives."""
        if labels and self._is_mixed:
            return math.ceil(
                int(self._unknown.sum()) / (batch_size - self._labelled_in(batch_size))
            )
        return math.ceil(len(self) / batch_size)

    def to(self, device: torch.device | str) -> "Split":
        """Returns the same split on `device`."""
        return replace(self, x=self.x.to(device), y=None if self.y is None else self.y.to(device))

    def _order(self, shuffle: bool, generator: torch.Generator | None) -> Tensor:
        if not shuffle:
            return torch.arange(len(self), device=self.x.device)
        device = "cpu" if generator is None else generator.device
        return torch.randperm(len(self), generator=generator, device=device).to(self.x.device)

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

    def _batch(self, index: Any, labels: bool) -> tuple[Tensor, ...]:
        x = self.x[index] if self.draw is None else self.draw(self.x[index])
        return (x, self.y[index]) if labels and self.y is not None else (x,)


def _in_turn(index: Tensor, rows: int, columns: int) -> Tensor:
    turn = torch.arange(rows * columns, device=index.device) % len(index)
    return index[turn].view(rows, columns)
