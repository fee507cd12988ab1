"""The arguments of a step and the values of schedules, as what a graph takes and is good for."""

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
    """The arguments of a step and the schedules' values, with the tensors apart."""

    tensors: tuple[Tensor, ...]  # the schedules' values last
    others: tuple[Any, ...]
    shape: Any  # of the nested arguments; None for tensors alone
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
        """What a graph is good for."""
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
        """The args, kwargs and weights again."""
        left = iter(self.tensors)
        leaves = [next(left) if other is ... else other for other in self.others]
        args, kwargs = (leaves, {}) if self.shape is None else tree_unflatten(leaves, self.shape)
        return args, kwargs, dict(zip(self.schedules, left, strict=True))


def _shown(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
