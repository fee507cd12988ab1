"""Passes over data in batches of arguments for model and guide, as a program can take them."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vae.arguments import order_of_arguments
from pyro_vae.datasets import Split
from pyro_vae.program import Program, modules_of

from .training_data import arguments_of, has_labels

__all__ = ["Batches", "kind_of_batch", "num_data"]


@dataclass(frozen=True)
class Batches:
    """Data that are passed over again and again in batches, put where the program is.

    Args:
        data: A `Split`, or batches as the user gives them.
        batch_size: Data in a batch of a `Split`.
        order: The order in which the program takes the data (0) and labels (1) of a `Split`.
        join_last: Whether a last batch of one datum is joined to the batch before it.
        device: Where the program's tensors are; None leaves the data where they are.
        dtype: What floating data become; None leaves them as they are.
    """

    data: Split | Iterable[Any]
    batch_size: int
    order: tuple[int, ...] = (0,)
    join_last: bool = False
    device: torch.device | None = None
    dtype: torch.dtype | None = None

    @classmethod
    def of(
        cls,
        program: Program,
        data: Split | Iterable[Any],
        batch_size: int,
        *,
        training: bool,
        compares: bool = False,
    ) -> "Batches":
        """Data for a program.

        Args:
            program: The program that takes them.
            data: A `Split`, or batches.
            batch_size: Data in a batch of a `Split`.
            training: Whether they are trained on, when batch normalization needs two at a time.
            compares: Whether the loss compares the data of a batch, and needs two, too.
        """
        tops = modules_of(program.model, program.guide).values()
        modules = [module for top in tops for module in top.modules()]
        tensors = [t for top in tops for t in (*top.parameters(), *top.buffers())]
        dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        order: tuple[int, ...] = (0,)
        if isinstance(data, Split):
            order = order_of_arguments(program, labels=has_labels(program, data))
        return cls(
            data,
            batch_size,
            order=order,
            join_last=compares or (training and any(map(_normalizes, modules))),
            device=tensors[0].device if tensors else None,
            dtype=dtypes.pop() if len(dtypes) == 1 else None,
        )

    def steps(self) -> int:
        """The number of batches in one pass."""
        if not isinstance(self.data, Sized):
            raise TypeError("data that do not know their length need steps, not epochs")
        if not len(self.data):
            raise ValueError("the data are empty")
        if isinstance(self.data, Split):
            return self._number(self.data) - self._joins(self.data)
        return len(self.data)

    def once(self, seed: int | None = None) -> Iterator[list[Any]]:
        """One pass over the data; a `Split` is shuffled by the seed, if there is one."""
        if not isinstance(self.data, Split):
            return map(self._put, map(arguments_of, self.data))
        order = None if seed is None else torch.Generator().manual_seed(seed)
        batches: Iterator[Any] = self.data.batches(
            self.batch_size, shuffle=order is not None, generator=order, labels=self.labels
        )
        if self._joins(self.data):
            batches = _with_last_two_joined(batches, self._number(self.data))
        return map(self._put, map(self.swapped, batches))

    def swapped(self, parts: Sequence[Any]) -> list[Any]:
        """The parts of a `Split` as arguments, or these as parts: at most two change place."""
        return [parts[i] for i in self.order]

    @property
    def labels(self) -> bool:
        """Whether the labels of a `Split` are given, too."""
        return len(self.order) > 1

    def _number(self, split: Split) -> int:
        return split.num_batches(self.batch_size, labels=self.labels)

    def _joins(self, split: Split) -> bool:
        mixed = self.labels and split.labelled > 0  # whose batches all have one size
        possible = self.join_last and not mixed and 1 < self.batch_size < len(split)
        return possible and len(split) % self.batch_size == 1

    def _put(self, batch: Sequence[Any]) -> list[Any]:
        return [self._put_part(part) if isinstance(part, Tensor) else part for part in batch]

    def _put_part(self, part: Tensor) -> Tensor:
        dtype = self.dtype if part.is_floating_point() else None
        # Detached: data that ask for a gradient would be trained as parameters are.
        return part.detach().to(device=self.device, dtype=dtype)


def _normalizes(module: nn.Module) -> bool:
    """Whether a module takes mean and variance over the batch."""
    return isinstance(module, _BatchNorm) and module.training


def num_data(batch: Sequence[Any]) -> int:
    """How many data a batch holds: the length of its first tensor."""
    return next(len(part) for part in batch if isinstance(part, Tensor) and part.dim())


def kind_of_batch(batch: Sequence[Any]) -> Any:
    """What a batch is like: the shapes and types of its parts."""
    return tuple((p.shape, p.dtype) if isinstance(p, Tensor) else type(p) for p in batch)


def _with_last_two_joined(batches: Iterator[Any], number: int) -> Iterator[Any]:
    """The same batches, but the last two as one.

    None is taken before its turn, as taking one may draw random numbers.
    """
    for _ in range(number - 2):
        yield next(batches)
    yield [torch.cat(parts) for parts in zip(*batches, strict=True)]
