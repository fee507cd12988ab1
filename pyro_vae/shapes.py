"""Shapes: of a latent, of the one input of a network or its several; and what refuses others."""

import math
from collections.abc import Sequence
from operator import index
from typing import SupportsIndex, TypeAlias

__all__ = [
    "InShape",
    "LatentDim",
    "as_in_shape",
    "check_part",
    "input_shapes",
    "joined_shape",
    "latent_shape",
    "latent_size",
]

# The size of a vector z, or the shape of any other z, such as (4, 32, 32) for 4 maps of 32 by 32.
LatentDim: TypeAlias = int | Sequence[int]
# The shape of a network's one input, or a tuple of shapes, one for each of its inputs.
InShape: TypeAlias = Sequence[int] | Sequence[Sequence[int]]


def latent_shape(latent_dim: LatentDim) -> tuple[int, ...]:
    """The shape of one z: (20,) for the latent_dim 20, and a shape itself.

    Raises:
        TypeError: If it is neither.
        ValueError: If there are no numbers in such a z.
    """
    sizes = [latent_dim] if isinstance(latent_dim, SupportsIndex) else latent_dim
    if not isinstance(sizes, Sequence) or not all(isinstance(n, SupportsIndex) for n in sizes):
        raise TypeError(
            f"latent_dim is {latent_dim!r}, but must be the size of a vector, such as 20, or a "
            "shape, such as (4, 32, 32)"
        )
    shape = tuple(index(size) for size in sizes)
    if min(shape, default=0) < 1:
        raise ValueError(
            f"latent_dim must be at least 1, but is {latent_dim}; give the size of a vector, such "
            "as 20, or a shape, such as (4, 32, 32)"
        )
    return shape


def latent_size(owner: str, latent_dim: LatentDim) -> int:
    """The size of z, for parts whose z is a vector.

    Args:
        owner: The part, for the sentence of an error.
        latent_dim: A number, or a shape of one dimension.

    Raises:
        ValueError: If it is a shape of more dimensions.
    """
    size, *others = latent_shape(latent_dim)
    if others:
        raise ValueError(
            f"the z of a {owner} is one vector, but latent_dim is {tuple((size, *others))}; give "
            f"a number, such as {math.prod((size, *others))}, or take another part"
        )
    return size


def input_shapes(in_shape: InShape) -> tuple[tuple[int, ...], ...]:
    """The shapes of a network's inputs, which are one or several.

    Example:
        >>> input_shapes((1, 28, 28)), input_shapes(((1, 28, 28), (10,)))
        (((1, 28, 28),), ((1, 28, 28), (10,)))
    """
    shapes = as_in_shape(in_shape)
    several = [isinstance(size, tuple) for size in shapes]
    if any(several) != all(several):
        raise ValueError(
            f"in_shape is {shapes}, but must be the shape of one input, such as (1, 28, 28), or a "
            "tuple of shapes, one for each input, such as ((1, 28, 28), (10,))"
        )
    return shapes if any(several) else (shapes,)  # type: ignore[return-value]


def as_in_shape(in_shape: InShape) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    """An in_shape in tuples, however it was given."""
    shape = tuple(tuple(size) if isinstance(size, Sequence) else size for size in in_shape)
    return shape  # type: ignore[return-value]


def joined_shape(in_shape: InShape) -> tuple[int, ...]:
    """The one shape of several inputs that are joined along their first dimension.

    Vectors beside inputs of more dimensions are repeated along the further ones.

    Raises:
        ValueError: If the further dimensions differ.

    Example:
        >>> joined_shape(((1, 28, 28), (10,)))
        (11, 28, 28)
    """
    shapes = input_shapes(in_shape)
    sizes = max(shapes, key=len)[1:]
    firsts = [shape[0] for shape in shapes if shape and shape[1:] in (sizes, ())]
    if len(firsts) < len(shapes):
        raise ValueError(
            f"inputs of shapes {', '.join(map(str, shapes))} cannot be joined along their first "
            "dimension; give all the same further dimensions, or make them vectors"
        )
    return (sum(firsts), *sizes)


def check_part(owner: str, what: str, found: InShape, needed: InShape, *, of: str = "") -> None:
    """Refuses a part whose shape is not the one that its owner needs, or made of others."""
    if as_in_shape(found) != as_in_shape(needed):
        made = f", which is {of}" if of else ""
        raise ValueError(
            f"the {what} is {as_in_shape(found)}, but this {owner} needs {as_in_shape(needed)}"
            f"{made}; give both the same size"
        )
