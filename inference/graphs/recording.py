"""What a run does, operation by operation: to compare it with another run, and to make it a graph.

Torch's make_fx does that, too, in ten times the time. Tensors are known by weak references, so that
a run takes no more memory while it is recorded.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import _symbolic_trace
from torch.fx.node import base_types
from torch.utils._python_dispatch import TorchDispatchMode, autograd_would_have_decomposed
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from .uncapturable import UncapturableError, refuse_changing_size, refuse_reading

__all__ = ["Layout", "Name", "Operation", "Recording", "are_alike", "recorded"]

_aten = torch.ops.aten
_PLAIN = (*base_types, type(None))  # what the code of a graph can say


class Name(NamedTuple):
    """A tensor of a run: the inputs and results of a run have numbers, and those from outside."""

    number: int
    is_outside: bool


class Layout(NamedTuple):
    """How a tensor lies in memory; the stride is None for one that is sparse."""

    shape: torch.Size
    stride: tuple[int, ...] | None
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        """The layout of a tensor."""
        stride = tensor.stride() if tensor.layout is torch.strided else None
        return cls(tensor.shape, stride, tensor.dtype, tensor.device)


class Operation(NamedTuple):
    """A call of one of torch's operators, with names in the places of tensors."""

    function: Any
    args: Any
    kwargs: Any
    results: Any


class Recording(TorchDispatchMode):
    """Records what runs under it, and refuses what no graph can do.

    Args:
        inputs: Tensors that may be others in the next run. All others that no operation of this
            one has made come from outside, such as parameters and constants.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.num_inputs = len(inputs)
        self.operations: list[Operation] = []
        self.outside: list[Tensor] = []
        self.layouts: list[Layout] = []  # of inputs and results
        self._names = WeakTensorKeyDictionary()
        # Numbers of results that are the same in each run: those of constants that are integer or
        # boolean, and those of lone numbers that the run itself has made, as torch.tensor(3.0) is.
        self._fixed: set[int] = set()
        self._numbers: set[int] = set()
        for each in inputs:
            self._add(each)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is _aten.lift_fresh.default:
            # What torch.tensor makes may be changed in place, but is a constant of the graph.
            func = _aten.lift_fresh_copy.default
        if func._can_decompose() and autograd_would_have_decomposed(func, tree_leaves(args)):
            with self:  # in inference mode, where nothing above this has done it
                return func.decompose(*args, **kwargs)
        read: list[Name] = []
        told = self._told(tuple(args), read), self._told(kwargs, read)
        refuse_changing_size(func, args, lambda tensor: not self._is_fixed(self.name(tensor)))
        refuse_reading(func, is_known=self._are_known(read))
        result = func(*args, **kwargs)
        first = len(self.layouts)
        self.operations.append(Operation(func, *told, self._results(result)))
        self._note(func, read, range(first, len(self.layouts)))
        return result

    def name(self, tensor: Tensor) -> Name:
        """The name of a tensor of the run, or of one from outside."""
        name: Name | None = self._names.get(tensor)
        if name is None:
            name = self._names[tensor] = Name(len(self.outside), is_outside=True)
            self.outside.append(tensor)
        return name

    def is_same_as(self, other: "Recording", kept: Sequence[Tensor]) -> bool:
        """Whether another run did the same with the same tensors.

        Args:
            other: The other run.
            kept: Tensors that stay from run to run and may change, such as parameters.
        """
        ids = set(map(id, kept))
        return (
            self.layouts == other.layouts
            and len(self.outside) == len(other.outside)
            and list(map(_said, self.operations)) == list(map(_said, other.operations))
            and all(are_alike(*both, ids) for both in zip(self.outside, other.outside, strict=True))
        )

    def _add(self, tensor: Tensor) -> Name:
        name = self._names[tensor] = Name(len(self.layouts), is_outside=False)
        self.layouts.append(Layout.of(tensor))
        return name

    def _told(self, value: Any, read: list[Name]) -> Any:
        """Arguments with names in the places of tensors, which `read` gets, too."""
        if isinstance(value, Tensor):
            read.append(self.name(value))
            return read[-1]
        if isinstance(value, list | tuple):
            parts = [self._told(part, read) for part in value]
            return parts if isinstance(value, list) else tuple(parts)
        if isinstance(value, dict):
            return {key: self._told(part, read) for key, part in value.items()}
        if isinstance(value, torch.Generator):
            raise UncapturableError("it draws from a generator of its own; draw from torch's")
        if not isinstance(value, _PLAIN):
            raise UncapturableError(f"a graph cannot hold what is of type {type(value).__name__}")
        return value

    def _results(self, value: Any) -> Any:
        """Results with new names in the places of tensors, and None in those of all else."""
        if isinstance(value, Tensor):
            return self._add(value)
        if isinstance(value, list | tuple):
            return [self._results(part) for part in value]
        return None

    def _note(self, func: Any, read: Sequence[Name], results: range) -> None:
        """Notes which results are the same in each run."""
        if torch.Tag.nondeterministic_seeded in func.tags or not read:
            return
        if all(map(self._is_fixed, read)):
            self._fixed.update(results)
        begins = func is _aten.lift_fresh_copy.default
        lone = all(self.layouts[number].shape.numel() <= 1 for number in results)
        own = begins or not all(name.is_outside for name in read)
        if lone and own and self._are_known(read):
            self._numbers.update(results)

    def _are_known(self, names: Sequence[Name]) -> bool:
        """Whether numbers may be taken out of all these tensors."""
        return all(name.is_outside or name.number in self._numbers for name in names)

    def _is_fixed(self, name: Name) -> bool:
        """Whether a tensor comes from integer or boolean constants: floating ones may change."""
        if name.is_outside:
            return not self.outside[name.number].is_floating_point()
        return name.number in self._fixed


@contextmanager
def recorded(inputs: Sequence[Tensor]) -> Iterator[Recording]:
    """Records what runs within."""
    traces, caches = _symbolic_trace._is_fx_tracing_flag, torch.is_autocast_cache_enabled()
    # So functions of torch.compile refuse to run. They would run uncompiled, and stay so after.
    _symbolic_trace._is_fx_tracing_flag = True
    # The cache would hand on tensors that an earlier run has made.
    torch.set_autocast_cache_enabled(False)
    try:
        with Recording(inputs) as recording:
            yield recording
    finally:
        _symbolic_trace._is_fx_tracing_flag = traces
        torch.set_autocast_cache_enabled(caches)


def are_alike(one: Tensor, other: Tensor, kept: set[int]) -> bool:
    """Whether two tensors are one, or were made anew by two runs and are equal."""
    if one is other:
        return True
    # Constants made by the run itself, as by torch.tensor(3.0), are new tensors of equal values.
    anew = id(one) not in kept and id(other) not in kept
    return anew and Layout.of(one) == Layout.of(other) and torch.equal(one, other)


def _said(operation: Operation) -> tuple[Any, str]:
    """What an operation does, to compare: to Python 1, 1.0 and True are equal, to a graph not."""
    return operation.function, repr(operation[1:])
