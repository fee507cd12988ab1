"""The arguments of a step with the values of its schedules: the inputs of a graph, and its key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .uncapturable import UncapturableError

__all__ = ["Call"]


@dataclass(frozen=True)
class Call:
    """The arguments of a step and the schedules' values, taken apart into tensors and the rest.

    Args:
        tensors: The tensors, and the schedules' values as tensors of no dimension after them. These
            are the inputs of a graph.
        others: The arguments in order, with `...` in the place of each tensor. They are constants
            of a graph.
        shape: How the arguments are nested; None if they are tensors, given by position.
        schedules: The names of the schedules.
    """

    tensors: tuple[Tensor, ...]
    others: tuple[Any, ...]
    shape: Any
    schedules: tuple[str, ...]

    @classmethod
    def of(
        cls,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        weights: Mapping[str, float],
        dtype: torch.dtype,
    ) -> "Call":
        """Takes arguments apart, and makes the schedules' values tensors of `dtype`.

        Raises:
            UncapturableError: If an argument is neither a tensor nor a number or text.
        """
        plain = not kwargs and all(isinstance(arg, Tensor) for arg in args)
        leaves, shape = (args, None) if plain else tree_flatten((tuple(args), kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        others = tuple(... if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        if not all(leaf is ... or isinstance(leaf, int | float | str | None) for leaf in others):
            raise UncapturableError("its arguments are other than tensors, numbers and texts")
        device = tensors[0].device if tensors else None
        numbers = [torch.tensor(float(w), dtype=dtype, device=device) for w in weights.values()]
        return cls((*tensors, *numbers), others, shape, tuple(weights))

    @property
    def key(self) -> Any:
        """What a graph depends on: two calls of the same key may share one.

        Strides are part of it, since the compiler's code steps through memory by them.
        """
        meta = tuple((t.shape, t.stride(), t.dtype, t.device) for t in self.tensors)
        return meta, self.others, self.shape and str(self.shape), self.schedules

    def __str__(self) -> str:
        """The shapes and types of the arguments, without the schedules' values."""
        data = iter(self.tensors)
        shown = (_shown(next(data)) if other is ... else repr(other) for other in self.others)
        return ", ".join(shown) or "no arguments"

    def with_tensors(self, tensors: Sequence[Tensor]) -> "Call":
        """The same call with other tensors."""
        return replace(self, tensors=tuple(tensors))

    def arguments(self) -> tuple[Any, Any, dict[str, Tensor]]:
        """Puts the args, kwargs and weights together again."""
        left = iter(self.tensors)
        leaves = [next(left) if other is ... else other for other in self.others]
        args, kwargs = (leaves, {}) if self.shape is None else tree_unflatten(leaves, self.shape)
        return args, kwargs, dict(zip(self.schedules, left, strict=True))


def _shown(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
