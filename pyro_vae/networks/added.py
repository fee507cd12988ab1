"""An MLP of several inputs whose first layer adds what it makes of each."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .mlp import MLP

__all__ = ["Added"]


class Added(nn.Module):
    """An MLP of x and y whose first layer adds what it makes of either: A x + B y.

    Where y has batch dimensions that x lacks, as under enumeration, A x is computed once. With one
    layer alone, the sum is the output.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        y_dim: int,
        out_shape: Sequence[int],
        hidden: Sequence[int],
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        first = tuple(hidden[:1]) or out_shape
        self.of_x, self.of_y = MLP(x_shape, first, hidden=()), MLP((y_dim,), first, hidden=())
        rest = MLP(first, out_shape, hidden=hidden[1:], activation=activation)
        self.rest = nn.Sequential(activation(), rest) if hidden else nn.Identity()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.rest(self.of_x(x) + self.of_y(y))
