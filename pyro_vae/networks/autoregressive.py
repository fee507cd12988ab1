"""What the autoregressive networks share: a second input that every output may depend on."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .network import Network, leading_shape

__all__ = ["Autoregressive"]


class Autoregressive(Network):
    """A network whose outputs see the inputs before them, and all of a context if it has one.

    Args:
        in_shape: The shape of one input.
        out_shape: The shape of one output.
        layers: What maps (N, *in_shape), and (N, *context_shape) or None, to N outputs.
        context_shape: The shape of one context; () for none.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        layers: nn.Module,
        *,
        context_shape: Sequence[int] = (),
    ) -> None:
        super().__init__(in_shape, out_shape, layers)
        self.context_shape = tuple(context_shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps x `(..., *in_shape)` and context `(..., *context_shape)` to `(..., *out_shape)`.

        Leading shapes are broadcast: x (N, ...) and a context (K, N, ...) give (K, N, ...).
        """
        if (context is None) == bool(self.context_shape):
            raise ValueError(
                f"this {type(self).__name__} has context_shape {self.context_shape} but got "
                f"{'no context' if context is None else 'a context'}; build it with the shape of "
                "the context that it is called with"
            )
        batch_shape = leading_shape(self, x, self.in_shape)
        if context is not None:
            shape = leading_shape(self, context, self.context_shape)
            batch_shape = torch.broadcast_shapes(batch_shape, shape)
            context = _fold(context, batch_shape, self.context_shape)
        h = self.layers(_fold(x, batch_shape, self.in_shape), context)
        return h.reshape(*batch_shape, *self.out_shape)


def _fold(x: Tensor, batch_shape: torch.Size, shape: tuple[int, ...]) -> Tensor:
    return x.expand(*batch_shape, *shape).reshape(math.prod(batch_shape), *shape)
