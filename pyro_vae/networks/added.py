"""An MLP of several inputs whose first layer adds what it makes of each."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from pyro_vae.shapes import as_in_shape, input_shapes

from .mlp import MLP
from .network import leading_shape_of_all

__all__ = ["Added"]


class Added(nn.Module):
    """An MLP of several inputs, x, y, ..., whose first layer is A x + a + B y + b + ...

    As a function of its inputs it is an `MLP` of all of them joined. But each product is computed
    for the leading dimensions of its own input alone: where y has one for every class, which x
    lacks, A x is computed once.

    Args:
        in_shape: A tuple of shapes, one for each input; each is flattened.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; with `()` the sum is the output.
        activation: What builds the nonlinearity after each hidden layer.

    Example:
        >>> net = Added(((1, 28, 28), (10,)), (2, 20))
        >>> net(torch.zeros(128, 1, 28, 28), torch.zeros(10, 1, 10)).shape
        torch.Size([10, 128, 2, 20])
    """

    def __init__(
        self,
        in_shape: Sequence[Sequence[int]],
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = as_in_shape(in_shape), tuple(out_shape)
        shapes, first = input_shapes(in_shape), tuple(hidden[:1]) or self.out_shape
        self.of_each = nn.ModuleList(MLP(shape, first, hidden=()) for shape in shapes)
        rest = MLP(first, out_shape, hidden=hidden[1:], activation=activation)
        self.rest = nn.Sequential(activation(), rest) if hidden else nn.Identity()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps `(..., *in_shape[i])`, of broadcast leading shapes, to `(..., *out_shape)`."""
        leading_shape_of_all(self, inputs, input_shapes(self.in_shape))
        first, *others = (of(x) for of, x in zip(self.of_each, inputs, strict=True))
        return self.rest(sum(others, start=first))
