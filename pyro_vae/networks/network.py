"""What the networks share: layers that know one batch dimension, put under any leading shape."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Network", "dropped", "flat_size", "leading_shape"]


class Network(nn.Module):
    """Layers of (N, *seen_as) as a map of `(..., *in_shape)` to `(..., *out_shape)`.

    Args:
        in_shape: The shape of one input.
        out_shape: The shape of one output.
        layers: What maps (N, *seen_as) to N outputs, in any shape of out_shape's size.
        seen_as: The shape in which the layers take one input, by default in_shape.

    Example:
        >>> layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 6))
        >>> Network((1, 8, 8), (2, 3), layers)(torch.zeros(5, 128, 1, 8, 8)).shape
        torch.Size([5, 128, 2, 3])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        layers: nn.Module,
        *,
        seen_as: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        self.seen_as = self.in_shape if seen_as is None else tuple(seen_as)
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(..., *in_shape)` to `(..., *out_shape)`."""
        batch_shape = leading_shape(self, x, self.in_shape)
        h = self.layers(x.reshape(math.prod(batch_shape), *self.seen_as))
        return h.reshape(*batch_shape, *self.out_shape)


def leading_shape(network: nn.Module, x: Tensor, shape: tuple[int, ...]) -> torch.Size:
    """What stands before `shape` in the shape of x `(..., *shape)`; refuses any other x."""
    batch_shape = x.shape[: max(x.dim() - len(shape), 0)]
    if x.shape[len(batch_shape) :] != shape:
        raise ValueError(
            f"this {type(network).__name__} takes ({', '.join(['...', *map(str, shape)])}) "
            f"but got {tuple(x.shape)}"
        )
    return batch_shape


def flat_size(owner: str, shape: Sequence[int]) -> int:
    """The numbers in one input or output of a shape, of which there must be some."""
    size = math.prod(shape)
    if size < 1:
        raise ValueError(f"a {owner} needs shapes of positive sizes, but got {tuple(shape)}")
    return size


def dropped(owner: str, dropout: float) -> list[nn.Module]:
    """The layer that leaves out such a share of its inputs in training, if any."""
    if not 0 <= dropout < 1:
        raise ValueError(f"the dropout of {owner} must be from 0 to below 1, but is {dropout}")
    return [nn.Dropout(dropout)] if dropout else []
