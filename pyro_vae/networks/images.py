"""Shapes of images in networks that halve and double them."""

import math
from collections.abc import Sequence

__all__ = ["halved_sizes", "image_shape"]


def image_shape(owner: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W) for `(..., H, W)`: the entries before height and width folded into channels."""
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"a {owner} needs images (..., height, width), but got {tuple(shape)}")
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def halved_sizes(
    owner: str, shape: Sequence[int], channels: Sequence[int]
) -> list[tuple[int, int]]:
    """Heights and widths of an image halved once for each of `channels`, odd sizes rounded up.

    Example:
        >>> halved_sizes("ConvEncoder", (1, 28, 20), (32, 64, 128))
        [(28, 20), (14, 10), (7, 5), (4, 3)]
    """
    if not channels or min(channels) < 1:
        raise ValueError(f"a {owner} needs positive numbers of channels, but got {channels}")
    _, height, width = image_shape(owner, shape)
    sizes = [(height, width)]
    for i in range(len(channels)):
        if min(height, width) < 2:
            raise ValueError(
                f"a {owner} with channels {tuple(channels)} halves its images {len(channels)} "
                f"times, but those of shape {tuple(shape)} are down to {(height, width)} after "
                f"{i}; give at most {i} channels"
            )
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes
