"""From arrays to splits: checked, converted to float32, cut by a fixed permutation."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .reading import Array
from .split import Split

__all__ = ["cut", "hold_out", "take", "to_split"]


def to_split(source: str, x: Array, y: Array | None = None, *, scale: float | None = None) -> Split:
    """Checks and converts arrays.

    Args:
        source: What names them in the sentence of an error.
        x: Data (N, D), images (N, H, W), (N, C, H, W) or (N, H, W, C), or more dimensions.
        y: Classes (N,), or conditions (N,) or (N, *y_shape) with a decimal point.
        scale: Divides x; None is 255 for uint8, and 1 for others.
    """
    return Split(_data(source, x, scale), None if y is None else _labels(source, y, len(x)))


def cut(whole: Split, *sizes: int) -> list[Split]:
    """Cuts into parts of these sizes, by a fixed permutation."""
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    return [take(whole, index) for index in order.split(list(sizes))]


def hold_out(source: str, whole: Split, parts: int) -> list[Split]:
    """Cuts `parts` tenths off, by a fixed permutation."""
    if len(whole) <= parts:
        raise ValueError(f"{source} has {len(whole)} items, but a split needs {parts + 1} or more")
    tenth = max(1, len(whole) // 10)
    return cut(whole, len(whole) - parts * tenth, *[tenth] * parts)


def take(whole: Split, index: Tensor | slice) -> Split:
    """The items at `index`."""
    return replace(whole, x=whole.x[index], y=None if whole.y is None else whole.y[index])


def _data(source: str, found: Array, scale: float | None) -> Tensor:
    if found.dtype.kind not in "buif":
        raise ValueError(f"{source} has dtype {found.dtype}, but expected real numbers")
    if found.ndim < 2 or found.size == 0:
        raise ValueError(
            f"{source} has shape {found.shape}, but expected (items, ...) with at least one item "
            "and one feature"
        )
    if scale is None and found.dtype == np.uint8:
        if found.max() <= 1:  # bits would silently become 0 and 1/255
            raise ValueError(
                f"{source} has only zeros and ones as uint8, where 255 is expected for white; "
                "give scale=1 if they are bits, or scale=255"
            )
        scale = 255
    x = _float32(source, found)
    if scale is not None:
        x /= scale
    if x.dim() == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        return x.movedim(3, 1).contiguous()
    return x.unsqueeze(1) if x.dim() == 3 else x


def _labels(source: str, found: Array, count: int) -> Tensor:
    real = found.dtype.kind == "f"
    if found.shape[:1] != (count,) or (found.ndim > 1 and not real):
        raise ValueError(f"{source} has labels of shape {found.shape}, but expected ({count},)")
    if real:
        y = _float32(f"{source}, labels,", found.reshape(count, -1))
        return y.view(*found.shape) if found.ndim > 1 else y
    if found.dtype.kind not in "bui" or found.min() < 0:
        raise ValueError(
            f"{source} has labels that are negative or not integers ({found.dtype}); number the "
            "classes from 0 on"
        )
    return torch.from_numpy(found.astype(np.int64))


def _float32(source: str, found: Array) -> Tensor:
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinite
        x = torch.from_numpy(found.astype(np.float32, order="C"))
    bad = ~x.isfinite().flatten(1)
    if bad.any():
        raise ValueError(
            f"{source} has {int(bad.sum())} NaN or infinite values, the first in item "
            f"{int(bad.any(1).int().argmax())}; remove or fill them"
        )
    return x
