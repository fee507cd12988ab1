"""What the autoregressive networks share: inputs that every output may depend on."""

from collections.abc import Sequence

from torch import Tensor, nn

from pyro_vae.shapes import InShape, input_shapes

from .network import Network, fold, leading_shape_of_all

__all__ = ["Autoregressive"]


class Autoregressive(Network):
    """A network whose outputs see the numbers of x before them, and all of a context.

    Args:
        in_shape: The shape of one x; or, with contexts, a tuple of shapes, x's first.
        out_shape: The shape of one output.
        layers: What maps (N, *x_shape), and (N, *context_as) or None, to N outputs.
        context_as: The shape in which the layers take the contexts, joined as in `Network`.
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        layers: nn.Module,
        *,
        context_as: Sequence[int] = (),
    ) -> None:
        super().__init__(in_shape, out_shape, layers)
        self.context_as = tuple(context_as)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps x `(..., *in_shape)`, or x and contexts, to `(..., *out_shape)`.

        Leading shapes are broadcast: x (N, ...) and a context (K, N, ...) give (K, N, ...).
        """
        shapes = input_shapes(self.in_shape)
        batch_shape = leading_shape_of_all(self, inputs, shapes)
        x = fold(inputs[:1], shapes[:1], batch_shape, shapes[0])
        context = None
        if len(inputs) > 1:
            context = fold(inputs[1:], shapes[1:], batch_shape, self.context_as)
        return self.layers(x, context).reshape(*batch_shape, *self.out_shape)
