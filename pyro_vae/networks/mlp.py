"""The multilayer perceptron."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """A multilayer perceptron on flattened data.

    Args:
        in_shape: The shape of one input.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; `()` makes the map affine.
        activation: What builds the nonlinearity after each hidden layer.

    Example:
        >>> MLP((1, 28, 28), (2, 20))(torch.zeros(5, 128, 1, 28, 28)).shape
        torch.Size([5, 128, 2, 20])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        sizes = [math.prod(self.in_shape), *hidden, math.prod(self.out_shape)]
        if min(sizes) < 1:
            raise ValueError(f"an MLP needs layers of at least one unit, but got {sizes}")
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(..., *in_shape)` to `(..., *out_shape)`."""
        batch_shape = x.shape[: x.dim() - len(self.in_shape)]
        if x.shape[len(batch_shape) :] != self.in_shape:
            raise ValueError(
                f"this MLP takes (..., {', '.join(map(str, self.in_shape))}) "
                f"but got {tuple(x.shape)}"
            )
        return self.layers(x.reshape(*batch_shape, -1)).reshape(*batch_shape, *self.out_shape)
