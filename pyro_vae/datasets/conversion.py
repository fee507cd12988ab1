"""From arrays to splits: checked, converted to float32, cut by a fixed permutation."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .layout import laid_out
from .meaning import check_numbers
from .reading import Array
from .split import Split

__all__ = ["cut", "hold_out", "take", "to_split"]


def to_split(source: str, x: Array, y: Array | None = None, *, scale: float) -> Split:
    """Checks and converts the arrays of a data set whose numbers are known.

    Args:
        source: What names them in the sentence of an error.
        x: Data (N, D), images (N, H, W), (N, C, H, W) or (N, H, W, C), or more dimensions.
        y: Classes (N,).
        scale: Divides x.
    """
    check_numbers(source, x)
    found = torch.from_numpy(x.astype(np.float32, order="C")).div_(scale)
    classes = None if y is None else _classes(source, y, len(x))
    return Split(laid_out(source, found)[0], classes)


def cut(whole: Split, *sizes: int) -> list[Split]:
    """Cuts into parts of these sizes, by a fixed permutation."""
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    return [take(whole, index) for index in order.split(list(sizes))]


def hold_out(source: str, whole: Split, parts: int) -> list[Split]:
    """Cuts `parts` tenths off, by a fixed permutation."""
    if len(whole) <= parts:
        count = f"{len(whole)} item{'s' if len(whole) > 1 else ''}"
        raise ValueError(
            f"{source} has {count}, but a split needs {parts + 1} or more; give more data"
        )
    tenth = max(1, len(whole) // 10)
    return cut(whole, len(whole) - parts * tenth, *[tenth] * parts)


def take(whole: Split, index: Tensor | slice) -> Split:
    """The items at `index`."""
    return replace(whole, x=whole.x[index], y=None if whole.y is None else whole.y[index])


def _classes(source: str, found: Array, count: int) -> Tensor:
    if found.shape != (count,) or found.dtype.kind not in "bui" or found.min() < 0:
        raise ValueError(
            f"{source} has labels of shape {found.shape} and dtype {found.dtype}, but expected "
            f"({count},) integers from 0 on; fetch the file again"
        )
    return torch.from_numpy(found.astype(np.int64))
