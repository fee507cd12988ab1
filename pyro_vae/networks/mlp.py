"""Multilayer perceptrons, plain and gated."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from pyro_vae.shapes import InShape, input_shapes

from .network import Network, dropped

__all__ = ["GatedMLP", "MLP", "layer_sizes"]


class MLP(Network):
    """A multilayer perceptron on flattened data.

    Args:
        in_shape: The shape of one input, or a tuple of shapes, whose inputs are flattened and put
            one after the other.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; `()` makes the map affine.
        activation: What builds the nonlinearity after each hidden layer.
        dropout: The share of hidden units that each training step leaves out (Srivastava et al.,
            2014, https://jmlr.org/papers/v15/srivastava14a.html).
        batch_norm: Whether to normalize what each hidden layer gives before the activation (Ioffe
            and Szegedy, 2015, https://arxiv.org/abs/1502.03167); what `ConvEncoder` says of it
            holds.
        batch_norm_output: Whether to normalize the output, too.

    Example:
        >>> MLP((1, 28, 28), (2, 20))(torch.zeros(5, 128, 1, 28, 28)).shape
        torch.Size([5, 128, 2, 20])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
        dropout: float = 0.0,
        batch_norm: bool = False,
        batch_norm_output: bool = False,
    ) -> None:
        *sizes, out_size = layer_sizes("an MLP", in_shape, hidden, out_shape)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [*_dense(fan_in, fan_out, batch_norm), activation()]
            layers += dropped("an MLP", dropout)
        layers += _dense(sizes[-1], out_size, batch_norm_output)
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=sizes[:1])


class GatedMLP(Network):
    """An MLP whose hidden layers gate themselves: h = (A x + a) * sigmoid(B x + b).

    The gate replaces `MLP`'s activation; the last layer is affine. A and B are the halves of one
    weight, and all weights are drawn from N(0, 2 / fan_in) (He et al., 2015).

    Args:
        in_shape: The shape of one input, or a tuple of shapes, whose inputs are flattened and put
            one after the other.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; `()` makes the map affine.

    Reference:
        Tomczak and Welling, 2018, https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
    ) -> None:
        *sizes, out_size = layer_sizes("a GatedMLP", in_shape, hidden, out_shape)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [_he(nn.Linear(fan_in, 2 * fan_out)), nn.GLU()]
        layers.append(_he(nn.Linear(sizes[-1], out_size)))
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=sizes[:1])


def layer_sizes(
    owner: str, in_shape: InShape, hidden: Sequence[int], out_shape: Sequence[int]
) -> list[int]:
    """The units of each layer from input to output, of which none may be empty."""
    inputs = [math.prod(shape) for shape in input_shapes(in_shape)]
    sizes = [sum(inputs), *hidden, math.prod(out_shape)]
    if min(inputs + sizes) < 1:
        raise ValueError(f"{owner} needs layers of at least one unit, but got {sizes}")
    return sizes


def _dense(fan_in: int, fan_out: int, batch_norm: bool) -> list[nn.Module]:
    """An affine layer, with its batch normalization, if any, which has the bias of both."""
    norm = [nn.BatchNorm1d(fan_out)] if batch_norm else []
    return [nn.Linear(fan_in, fan_out, bias=not batch_norm), *norm]


def _he(linear: nn.Linear) -> nn.Linear:
    nn.init.kaiming_normal_(linear.weight)
    return linear
