"""Data as named tensors that are read a batch at a time, in memory or not: `DataSource`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .epoch_order import epoch_order

__all__ = ["DataSource", "Shard", "Tensors", "check_pass", "shard_of"]

Shard = tuple[int, int]  # index and count


class DataSource(ABC):
    """Named tensors, such as data x and labels y, that are read a batch at a time.

    `fit`, `evaluate`, `log_likelihood`, `compare` and `check` take one in the place of a tensor,
    and so does a `Dataset` for each of its parts. A program gets the data by their names, as
    `model(x, y)` or `model(image, text)`, and does not get those that it has no parameter for. What
    is missing is NaN among floating numbers and -1 among integers.

    A subclass says how many data there are, and of what shapes and types, without reading any, and
    reads the rows that it is asked for. One that cannot read any row at any time, such as a stream,
    defines `batches` and `num_batches` in place of `read`.

    Example:
        >>> class Squares(DataSource):
        ...     shapes, dtypes = {"x": (1,)}, {"x": torch.float32}
        ...     def __len__(self):
        ...         return 10
        ...     def read(self, rows):
        ...         return {"x": rows[:, None].float() ** 2}
        >>> [len(batch["x"]) for batch in Squares().batches(4, seed=0)]
        [4, 4, 2]
    """

    @abstractmethod
    def __len__(self) -> int:
        """The number of data."""

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of one datum of each tensor, by name."""

    @property
    @abstractmethod
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """The type of each tensor, by name."""

    def read(self, rows: Tensor) -> Mapping[str, Tensor]:
        """The data of some rows, by name.

        Args:
            rows: The numbers of one or more of them, from 0 on, in any order, int64 (N,).

        Returns:
            Tensors (N, *shape), in the order of `rows`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither read nor batches")

    def num_batches(self, size: int) -> int:
        """The number of batches that `batches` gives."""
        return math.ceil(len(self) / size)

    @property
    def is_plain(self) -> bool:
        """Whether `batches` gives batches of one size, and a last one of what is left."""
        return type(self).batches is DataSource.batches

    def batches(
        self, size: int, *, seed: int | None = None, shard: Shard = (0, 1)
    ) -> Iterator[Mapping[str, Tensor]]:
        """One pass over the data, each datum once; the last batch may be smaller.

        The order follows from the seed and the number of data alone, so that a training goes on in
        the middle of a pass, and is the same wherever the data lie.

        Args:
            size: Data in a batch, the shares of all shards together.
            seed: Of the random order; None takes the rows in their order.
            shard: Index and count of the processes that share each batch: each of them gets every
                count-th datum of it, beginning with the one at the index. A share may be empty in a
                batch that is smaller than the count.

        Raises:
            ValueError: If `size` or `shard` are no such numbers.
        """
        check_pass(size, shard)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        order = epoch_order(len(self), shuffle=seed is not None, generator=generator)
        return (self._share(rows[shard_of(shard)]) for rows in order.split(size))

    def _share(self, rows: Tensor) -> Mapping[str, Tensor]:
        if len(rows):
            return self.read(rows)
        return {n: torch.empty(0, *s, dtype=self.dtypes[n]) for n, s in self.shapes.items()}


class Tensors(DataSource):
    """Named tensors in memory: those of a program of several data, such as model(image, text).

    `Split` holds x and y, with their draws and their share of labels.

    Args:
        tensors: Each (N, ...), by the name of the parameter that it is for.

    Raises:
        ValueError: If there are none, or their lengths differ.
        TypeError: If one is no tensor.

    Example:
        >>> pairs = Tensors(image=torch.zeros(50, 1, 8, 8), text=torch.zeros(50, 12).long())
        >>> len(pairs), pairs.shapes["text"]
        (50, (12,))
    """

    def __init__(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"Tensors takes tensors, but {name} is of type {type(tensor).__name__}; give "
                    f"{name}=torch.as_tensor({name})"
                )
        lengths = {name: len(tensor) if tensor.dim() else 0 for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(
                f"Tensors takes tensors of one length, by name, but got {lengths}; give each datum "
                "one row in all of them"
            )
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one datum of each tensor, by name."""
        return {name: tuple(tensor.shape[1:]) for name, tensor in self.tensors.items()}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The type of each tensor, by name."""
        return {name: tensor.dtype for name, tensor in self.tensors.items()}

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        """The data of some rows, by name."""
        return {name: tensor[rows.to(tensor.device)] for name, tensor in self.tensors.items()}


def check_pass(size: int, shard: Shard) -> None:
    """Refuses what are no arguments of `DataSource.batches`."""
    if size < 1:
        raise ValueError(f"the size of a batch must be at least 1, but is {size}")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(
            f"shard is {shard}, but must be an index below a count, such as (0, 2) and (1, 2) for "
            "two processes"
        )


def shard_of(shard: Shard) -> slice:
    """Where the share of a process stands in a batch.

    Every count-th, so that data with labels, which a batch may begin with, are shared out, too.
    """
    index, count = shard
    return slice(index, None, count)
