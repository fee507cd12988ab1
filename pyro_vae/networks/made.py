"""MADE, the masked autoencoder (Germain et al., 2015, https://arxiv.org/abs/1502.03509)."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyro_vae.shapes import InShape, input_shapes

from .autoregressive import Autoregressive
from .mlp import layer_sizes

__all__ = ["MaskedMLP"]


class MaskedMLP(Autoregressive):
    """An MLP whose output (..., d) depends on the inputs before d alone, and on the context.

    Each unit has a degree: 0 for context, d for input d, and for hidden units degrees spread evenly
    up to D - 1. A hidden unit sees degrees up to its own, output d sees those below d. With
    at least D units in each hidden layer, every output sees all that it may; with fewer, less.

    Args:
        in_shape: The shape of x, usually (D,), taken in raster order; or, for a network of x and
            contexts to condition on, a tuple of shapes, x's first.
        out_shape: `(..., *x_shape)`, such as (P, D) for P parameters of each input.
        hidden: Units of each hidden layer.
        activation: What builds the nonlinearity after each hidden layer.

    Reference:
        Germain et al., 2015, https://arxiv.org/abs/1502.03509, equations 8 and 9

    Example:
        >>> net = MaskedMLP(((5,), (3,)), (2, 5))
        >>> net(torch.zeros(128, 5), torch.zeros(7, 128, 3)).shape
        torch.Size([7, 128, 2, 5])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (500,),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        (x_shape, *contexts), out_shape = input_shapes(in_shape), tuple(out_shape)
        num_inputs, *_, num_outputs = layer_sizes("a MaskedMLP", x_shape, hidden, out_shape)
        if out_shape[len(out_shape) - len(x_shape) :] != x_shape:
            raise ValueError(
                f"a MaskedMLP has outputs for each of its inputs, but got {out_shape} for inputs "
                f"{x_shape}; give an out_shape that ends in the in_shape"
            )
        num_context = sum(math.prod(shape) for shape in contexts)
        order = torch.arange(1, num_inputs + 1)
        degrees = [torch.cat([order.new_zeros(num_context), order])]
        for units in hidden:
            evenly = torch.linspace(0 if num_context else 1, num_inputs - 1, units)
            degrees.append(evenly.round().long())
        layers: list[nn.Module] = []
        for below, above in pairwise(degrees):
            layers += [_MaskedLinear(above[:, None] >= below), activation()]
        outputs = order.repeat(num_outputs // num_inputs)
        layers.append(_MaskedLinear(outputs[:, None] > degrees[-1]))
        super().__init__(in_shape, out_shape, _SideBySide(*layers), context_as=(num_context,))


class _MaskedLinear(nn.Linear):
    """A linear map with the weights outside a mask (outputs, inputs) cut."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


class _SideBySide(nn.Module):
    """Layers of context and x in one vector."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = x.flatten(1)
        return self.layers(x if context is None else torch.cat([context, x], -1))
