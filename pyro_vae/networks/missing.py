"""An encoder for tables with missing entries."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.shapes import InShape, as_in_shape, input_shapes

from .mlp import MLP
from .network import leading_shape_of_all

__all__ = ["ZeroImputed"]


class ZeroImputed(nn.Module):
    """An MLP of (x with 0 where it is NaN, 1 where x is observed and else 0).

    The mask tells a missing entry from one that is 0. No NaN comes out, neither in the values nor
    in the gradients. x goes in as asinh(x), which is x near 0 and grows like its logarithm, so that
    counts and amounts of money can stand beside standardized numbers.

    Args:
        in_shape: The shape of one input, whose entries may be NaN, or a tuple of shapes.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; `()` makes the map affine.
        activation: What builds the nonlinearity after each hidden layer.

    Reference:
        Collier et al., 2020, https://arxiv.org/abs/2006.05301
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = as_in_shape(in_shape), tuple(out_shape)
        pairs = [(2, *shape) for shape in input_shapes(in_shape)]
        in_shape = pairs if len(pairs) > 1 else pairs[0]
        self.mlp = MLP(in_shape, out_shape, hidden=hidden, activation=activation)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps `(..., *in_shape)`, for each input, to `(..., *out_shape)`."""
        shapes = input_shapes(self.in_shape)
        leading_shape_of_all(self, inputs, shapes)
        return self.mlp(*(_imputed(x, len(s)) for x, s in zip(inputs, shapes, strict=True)))


def _imputed(x: Tensor, dims: int) -> Tensor:
    """X with 0 for NaN, and where it is observed: (..., 2, *shape), for a shape of `dims`."""
    observed = ~x.isnan()
    filled = [x.where(observed, 0.0).asinh(), observed.to(x.dtype)]
    return torch.stack(filled, x.dim() - dims)
