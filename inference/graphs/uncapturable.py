"""What no graph can do, and the sentence that says why."""

import linecache
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pyro_vae.blame import user_line, user_place

__all__ = [
    "UncapturableError",
    "first_line",
    "reason_of",
    "refuse_changing_size",
    "refuse_reading",
]

_aten = torch.ops.aten
_INDEX_PUT = {_aten.index_put.default, _aten.index_put_.default}
# By what stands in the line that fails; the first that does.
_CURES = {
    "one_hot": "F.one_hot reads the largest class; use torch.eye(n)[y], for n classes",
    ".item()": ".item() takes a number out of a tensor; compute with the tensor",
    ".tolist()": ".tolist() takes numbers out of a tensor; compute with the tensor",
    "pyro.plate(": "a loop over pyro.plate reads its indices as numbers; loop over range(n)",
    "if ": "a branch on a tensor's value is taken once for all; use torch.where",
}


class UncapturableError(Exception):
    """Says why a program cannot be captured."""


def refuse_changing_size(
    func: Any, args: Sequence[Any], is_computed: Callable[[Tensor], bool]
) -> None:
    """Refuses tensors whose sizes depend on the values of others.

    A graph would have the sizes of the one run that it was made of, without a word. A boolean index
    that is always the same, such as a buffer, is allowed: no value that the graph computes goes
    into it.

    Args:
        func: The operator.
        args: What it is called with.
        is_computed: Whether a tensor among that may be another one in the next run.

    Raises:
        UncapturableError: If the size of what it returns, or writes, depends on values.
    """
    if _has_changing_size(func, args, is_computed):
        raise UncapturableError(
            f"the size of what {func._schema.name.removeprefix('aten::')} returns depends on "
            "values, as with boolean masks as indices; use torch.where(mask, one, other)"
        )


def refuse_reading(func: Any, *, is_known: bool) -> None:
    """Refuses that a number is taken out of a tensor, unless it is known to be always the same.

    Raises:
        RuntimeError: If that is what the operator does.
    """
    if not is_known and torch.Tag.data_dependent_output in func.tags:
        raise RuntimeError("a number is taken out of a tensor, as .item(), int() and `if` do")


def first_line(error: Exception) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else repr(error)


def reason_of(error: Exception) -> str:
    """The first line of an error, the user's line that it comes from, and the cure if known."""
    said = first_line(error)
    place = user_place(error)
    if place is None:
        return said
    code = linecache.getline(*place)
    cure = next((cure for name, cure in _CURES.items() if name in code), "")
    says_its_cure = isinstance(error, UncapturableError)
    return f"{user_line(error)}: {cure if cure and not says_its_cure else said}"


def _has_changing_size(
    func: Any, args: Sequence[Any], is_computed: Callable[[Tensor], bool]
) -> bool:
    """Whether an operator's result, or what it writes, has a size that depends on values.

    A mask that one number is written to has not: each place then gets the number or stays.
    """
    if func is _aten.index.Tensor or func in _INDEX_PUT:
        value = args[2] if func in _INDEX_PUT else None
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        return (value is None or value.numel() > 1) and any(map(is_computed, masks))
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    return any(is_computed(arg) for arg in tree_leaves(args) if isinstance(arg, Tensor))
