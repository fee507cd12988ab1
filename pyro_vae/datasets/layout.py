"""The shape of one datum: where the channels stand, and what is flat and should not be."""

import math
from collections.abc import Sequence

from torch import Tensor

__all__ = ["check_x_shape", "laid_out"]


def check_x_shape(x_shape: Sequence[int] | None) -> None:
    """Refuses what is no shape of a datum."""
    if x_shape is not None and (
        not isinstance(x_shape, tuple | list)
        or not x_shape
        or not all(isinstance(size, int) and size > 0 for size in x_shape)
    ):
        raise ValueError(f"x_shape must be a shape such as (1, 28, 28), but is {x_shape!r}")


def laid_out(source: str, x: Tensor, x_shape: Sequence[int] | None = None) -> tuple[Tensor, str]:
    """Puts the channels of pictures first, or brings data to a given shape; and says so.

    (N, H, W) becomes (N, 1, H, W), and (N, H, W, C) becomes (N, C, H, W) if the last size is 1, 3
    or 4, and H is not a number of channels itself.

    Args:
        source: What names the data in the sentence of an error.
        x: The data, (N, ...).
        x_shape: The shape to bring each datum to; None decides by the rule.

    Raises:
        ValueError: If the data cannot be brought to `x_shape` without mixing rows and columns.
    """
    if x_shape is not None:
        return _given(source, x, tuple(x_shape))
    if x.dim() == 3:
        return x.unsqueeze(1), f"items of shape {tuple(x.shape[1:])} taken for (height, width)"
    if x.dim() != 4 or x.shape[3] not in (1, 3, 4):
        return x, ""
    if x.shape[1] in (1, 3) or x.shape[1] == x.shape[3] == 4:
        return x, f"items of shape {tuple(x.shape[1:])} taken for (channels, height, width)"
    return x.movedim(3, 1).contiguous(), "the last dimension taken for the channels"


def _given(source: str, x: Tensor, x_shape: tuple[int, ...]) -> tuple[Tensor, str]:
    found = tuple(x.shape[1:])
    if found == x_shape:
        return x, ""
    if len(found) == 3 and (found[2], *found[:2]) == x_shape:
        return x.movedim(3, 1).contiguous(), "the last dimension taken for the channels"
    same_but_for_ones = [n for n in found if n > 1] == [n for n in x_shape if n > 1]
    if math.prod(found) == math.prod(x_shape) and (len(found) == 1 or same_but_for_ones):
        return x.reshape(len(x), *x_shape), f"items of shape {found} reshaped"
    raise ValueError(
        f"{source} has items of shape {found}, which x_shape={x_shape} does not fit; give the "
        f"shape of {math.prod(found):,} entries, rows before columns, or leave x_shape out"
    )
