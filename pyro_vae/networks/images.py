"""Shapes of images in networks that halve and double them."""

import math
from collections.abc import Sequence

from torch import nn

from pyro_vae.shapes import InShape, as_in_shape, input_shapes

from .network import flat_size

__all__ = ["affine", "halved_sizes", "image_shape", "joined_image", "seen_in"]


def image_shape(owner: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W) for `(..., H, W)`: the entries before height and width folded into channels."""
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"a {owner} needs images (..., height, width), but got {tuple(shape)}")
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def joined_image(owner: str, in_shape: InShape) -> tuple[int, int, int]:
    """(C, H, W) of all inputs joined: images of one size, and vectors as constant channels.

    Example:
        >>> joined_image("ConvEncoder", ((1, 28, 28), (10,)))
        (11, 28, 28)
    """
    shapes = input_shapes(in_shape)
    _, *size = image_shape(owner, max(shapes, key=len))
    channels = 0
    for shape in shapes:
        if min(shape, default=0) < 1 or (len(shape) > 1 and list(shape[-2:]) != size):
            raise ValueError(
                f"a {owner} joins images of one height and width, and vectors, but got "
                f"{as_in_shape(in_shape)}; give all images the size {tuple(size)}"
            )
        channels += shape[0] if len(shape) == 1 else math.prod(shape[:-2])
    return channels, size[0], size[1]


def seen_in(owner: str, in_shape: InShape, size: tuple[int, int]) -> tuple[int, ...]:
    """How a decoder whose layers begin with `size` takes its inputs: as maps, or else flat."""
    flat = flat_size(owner, in_shape)
    if not is_map(max(input_shapes(in_shape), key=len), size):
        return (flat,)
    return joined_image(owner, in_shape)


def affine(
    in_shape: Sequence[int], out_shape: Sequence[int], dropout: Sequence[nn.Module] = ()
) -> list[nn.Module]:
    """The affine map of (N, *in_shape) to N outputs: at each place, between maps of one size.

    Args:
        in_shape: (C, h, w), or (D,) for a vector.
        out_shape: (..., C, h, w), or any other shape for a vector.
        dropout: The layer that goes before it, if any.
    """
    if len(in_shape) == 3 and is_map(out_shape, (in_shape[1], in_shape[2])):
        return [*dropout, nn.Conv2d(in_shape[0], math.prod(out_shape[:-2]), 1)]
    linear = nn.Linear(math.prod(in_shape), math.prod(out_shape))
    if len(in_shape) == 3:
        return [nn.Flatten(), *dropout, linear]
    return [*dropout, linear, nn.Unflatten(1, tuple(out_shape))]


def is_map(shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether a shape (..., C, h, w) is of maps of this size, to be made or taken as it is.

    Two dimensions are none: (2, 2) is more often the parameters of two latents.
    """
    return len(shape) > 2 and tuple(shape[-2:]) == size


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
