"""Networks of several inputs that join them: at the first layer, or before the last."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import glu

from pyro_vae.wiring import Network, built

from .mlp import GatedMLP

__all__ = ["Joined", "JoinedGatedMLP"]


class Joined(nn.Module):
    """A network of x (..., C, *sizes) and y (..., y_dim) joined to (..., C + y_dim, *sizes)."""

    def __init__(
        self,
        owner: str,
        name: str,
        network: Network,
        x_shape: tuple[int, ...],
        y_dim: int,
        out_shape: Sequence[int],
    ) -> None:
        super().__init__()
        channels, *sizes = x_shape
        self.shapes = (x_shape, (y_dim, *sizes))
        self.network = built(owner, name, network, (channels + y_dim, *sizes), out_shape)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        dim = len(self.shapes[0])
        batch_shape = torch.broadcast_shapes(x.shape[:-dim], y.shape[:-1])
        y = y.reshape(*y.shape, *[1] * (dim - 1))
        parts = zip((x, y), self.shapes, strict=True)
        return self.network(torch.cat([v.expand(*batch_shape, *s) for v, s in parts], -dim))


class JoinedGatedMLP(nn.Module):
    """A gated network of two inputs, joined before the last hidden layer.

    Args:
        in_shape: The shapes of the two.
        out_shape: The shape of one output.
        hidden: Units of each hidden layer; each input has its own but for the last.
    """

    def __init__(
        self, in_shape: Sequence[Sequence[int]], out_shape: Sequence[int], *, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        if len(hidden) < 2:
            raise ValueError(
                f"hidden is {tuple(hidden)}, but a network of two inputs needs two hidden layers "
                "at least, one for each input and one to join them"
            )
        self.in_shape, self.out_shape = tuple(map(tuple, in_shape)), tuple(out_shape)
        *below, units, last = hidden
        # The last layer of a GatedMLP is affine: to twice the units, it is a gate's two halves.
        self.own = nn.ModuleList(
            GatedMLP(shape, (2 * units,), hidden=below) for shape in self.in_shape
        )
        self.joint = GatedMLP((2 * units,), out_shape, hidden=(last,))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps two tensors (..., *in_shape[i]), broadcast, to (..., *out_shape)."""
        features = [glu(own(x)) for own, x in zip(self.own, inputs, strict=True)]
        return self.joint(torch.cat(torch.broadcast_tensors(*features), -1))
