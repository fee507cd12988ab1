"""What the networks share: layers that know one batch dimension, put under any leading shape.

Every network is built as `Net(in_shape, out_shape, ...)`. `in_shape` is the shape of one input, or
a tuple of shapes, such as `((1, 28, 28), (10,))`, of a network that is called with as many inputs.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vae.shapes import InShape, as_in_shape, input_shapes

__all__ = ["Network", "dropped", "flat_size", "fold", "leading_shape", "leading_shape_of_all"]


class Network(nn.Module):
    """Layers of (N, *seen_as) as a map of `(..., *in_shape)` to `(..., *out_shape)`.

    Several inputs are joined along the first dimension of `seen_as`. What stands in their shapes
    before the further ones is flattened; a vector is repeated along these, which for images makes
    each of its numbers a constant channel.

    Args:
        in_shape: The shape of one input, or a tuple of shapes, one for each of several.
        out_shape: The shape of one output.
        layers: What maps (N, *seen_as) to N outputs, in any shape of out_shape's size.
        seen_as: The shape in which the layers take one input, or all of them joined; by default
            in_shape.

    Example:
        >>> layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 6))
        >>> Network((1, 8, 8), (2, 3), layers)(torch.zeros(5, 128, 1, 8, 8)).shape
        torch.Size([5, 128, 2, 3])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        layers: nn.Module,
        *,
        seen_as: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = as_in_shape(in_shape), tuple(out_shape)
        self.seen_as = input_shapes(in_shape)[0] if seen_as is None else tuple(seen_as)
        self.layers = layers

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps `(..., *in_shape)`, for each input, to `(..., *out_shape)`.

        Leading shapes are broadcast: inputs (N, ...) and (K, N, ...) give (K, N, ...).
        """
        shapes = input_shapes(self.in_shape)
        batch_shape = leading_shape_of_all(self, inputs, shapes)
        h = self.layers(fold(inputs, shapes, batch_shape, self.seen_as))
        return h.reshape((*batch_shape, *self.out_shape))


def fold(
    inputs: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    batch_shape: torch.Size,
    seen_as: tuple[int, ...],
) -> Tensor:
    """Inputs (..., *shape), one or several, as one tensor (N, *seen_as), N = prod(batch_shape)."""
    num, sizes = math.prod(batch_shape), seen_as[1:]
    wide = [
        x if x.shape == (*batch_shape, *shape) else x.expand(*batch_shape, *shape)
        for x, shape in zip(inputs, shapes, strict=True)
    ]
    if len(inputs) == 1:
        return wide[0].reshape(num, *seen_as)
    parts = []
    for x, shape in zip(wide, shapes, strict=True):
        own = sizes if len(shape) > 1 else (1,) * len(sizes)
        channels = math.prod(shape) // math.prod(own)
        parts.append(x.reshape(num, channels, *own).expand(num, channels, *sizes))
    return torch.cat(parts, 1)


def leading_shape(network: nn.Module, x: Tensor, shape: tuple[int, ...]) -> torch.Size:
    """What stands before `shape` in the shape of x `(..., *shape)`; refuses any other x."""
    batch_shape = x.shape[: max(x.dim() - len(shape), 0)]
    if x.shape[len(batch_shape) :] != shape:
        raise ValueError(
            f"this {type(network).__name__} takes ({', '.join(['...', *map(str, shape)])}) "
            f"but got {tuple(x.shape)}"
        )
    return batch_shape


def leading_shape_of_all(
    network: nn.Module, inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]
) -> torch.Size:
    """The broadcast leading shape of inputs (..., *shape); refuses another number of them."""
    if len(inputs) != len(shapes):
        s = "s" if len(shapes) > 1 else ""
        raise ValueError(
            f"this {type(network).__name__} takes {len(shapes)} input{s}, of shape{s} "
            f"{', '.join(map(str, shapes))}, but got {len(inputs)}; build it with an in_shape of "
            "one shape for each input that it is called with"
        )
    found = [leading_shape(network, x, shape) for x, shape in zip(inputs, shapes, strict=True)]
    return found[0] if len(found) == 1 else torch.broadcast_shapes(*found)


def flat_size(owner: str, shape: InShape) -> int:
    """The numbers in one output, or in all inputs together, of which there must be some."""
    sizes = [math.prod(each) for each in input_shapes(shape)]
    if min(sizes) < 1:
        raise ValueError(f"a {owner} needs shapes of positive sizes, but got {as_in_shape(shape)}")
    return sum(sizes)


def dropped(owner: str, dropout: float) -> list[nn.Module]:
    """The layer that leaves out such a share of its inputs in training, if any."""
    if not 0 <= dropout < 1:
        raise ValueError(f"the dropout of {owner} must be from 0 to below 1, but is {dropout}")
    return [nn.Dropout(dropout)] if dropout else []
