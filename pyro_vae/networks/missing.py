"""An encoder for tables with missing entries."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .mlp import MLP
from .network import leading_shape

__all__ = ["ZeroImputed"]


class ZeroImputed(nn.Module):
    """An MLP of (x with 0 where it is NaN, 1 where x is observed and else 0).

    The mask tells a missing entry from one that is 0. No NaN comes out, neither in the values nor
    in the gradients. x goes in as asinh(x), which is x near 0 and grows like its logarithm, so that
    counts and amounts of money can stand beside standardized numbers.

    Args:
        in_shape: The shape of one input, whose entries may be NaN.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; `()` makes the map affine.
        activation: What builds the nonlinearity after each hidden layer.

    Reference:
        Collier et al., 2020, https://arxiv.org/abs/2006.05301
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
        self.mlp = MLP((2, *in_shape), out_shape, hidden=hidden, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(..., *in_shape)` to `(..., *out_shape)`."""
        dim = len(leading_shape(self, x, self.in_shape))
        observed = ~x.isnan()
        return self.mlp(torch.stack([x.where(observed, 0.0).asinh(), observed.to(x.dtype)], dim))
