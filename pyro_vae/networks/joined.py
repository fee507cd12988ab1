"""Networks of several inputs that join them: before the first layer, or before the last."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import glu

from pyro_vae.shapes import as_in_shape, check_part, input_shapes, joined_shape

from .mlp import MLP, GatedMLP
from .network import fold, leading_shape_of_all

__all__ = ["Joined", "JoinedGatedMLP"]


class Joined(nn.Module):
    """A network of one input that is given several, joined along their first dimension.

    Inputs (C, *sizes) and (D, *sizes) are seen as one (C + D, *sizes). A vector (D,) beside them is
    repeated along the sizes: beside an image each of its numbers is a constant channel.

    This is for networks that know one input, such as a `Sequential` of your own. Those of this
    package join several inputs by themselves; `MLP` flattens them first.

    Args:
        in_shape: A tuple of shapes, one for each input.
        out_shape: The shape of one output.
        network: The network of the joined input, or a class that builds it from the joined shape
            and out_shape.

    Raises:
        ValueError: If the inputs cannot be joined, or the network declares other shapes.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(11, 4, 3, stride=2), nn.Flatten(), nn.Linear(676, 40))
        >>> net = Joined(((1, 28, 28), (10,)), (40,), network=layers)
        >>> net(torch.zeros(5, 1, 28, 28), torch.zeros(5, 10)).shape
        torch.Size([5, 40])
    """

    def __init__(
        self,
        in_shape: Sequence[Sequence[int]],
        out_shape: Sequence[int],
        *,
        network: nn.Module | Callable[[Sequence[int], Sequence[int]], nn.Module] = MLP,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = as_in_shape(in_shape), tuple(out_shape)
        self.seen_as = joined_shape(in_shape)
        if not isinstance(network, nn.Module):
            network = network(self.seen_as, self.out_shape)
        for kind, needed in (("in_shape", self.seen_as), ("out_shape", self.out_shape)):
            check_part("Joined", f"network's {kind}", getattr(network, kind, needed), needed)
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps `(..., *in_shape[i])`, of broadcast leading shapes, to `(..., *out_shape)`."""
        shapes = input_shapes(self.in_shape)
        batch_shape = leading_shape_of_all(self, inputs, shapes)
        folded = fold(inputs, shapes, batch_shape, self.seen_as)
        return self.network(folded.reshape(*batch_shape, *self.seen_as))


class JoinedGatedMLP(nn.Module):
    """A gated MLP with layers of its own for each input, joined before the last hidden layer.

    Args:
        in_shape: A tuple of shapes, one for each input; each is flattened.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer, two at least; all but the last are once for each input.

    Reference:
        Tomczak and Welling, 2018, https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        in_shape: Sequence[Sequence[int]],
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (300, 300),
    ) -> None:
        super().__init__()
        if len(hidden) < 2:
            raise ValueError(
                f"hidden is {tuple(hidden)}, but a network of two inputs needs two hidden layers "
                "at least, one for each input and one to join them"
            )
        self.in_shape, self.out_shape = as_in_shape(in_shape), tuple(out_shape)
        *below, units, last = hidden
        shapes = input_shapes(in_shape)
        # The last layer of a GatedMLP is affine: to twice the units, it is a gate's two halves.
        self.own = nn.ModuleList(GatedMLP(shape, (2 * units,), hidden=below) for shape in shapes)
        self.joint = GatedMLP((len(shapes) * units,), out_shape, hidden=(last,))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps `(..., *in_shape[i])`, of broadcast leading shapes, to `(..., *out_shape)`."""
        leading_shape_of_all(self, inputs, input_shapes(self.in_shape))
        features = [glu(own(x)) for own, x in zip(self.own, inputs, strict=True)]
        return self.joint(torch.cat(torch.broadcast_tensors(*features), -1))
