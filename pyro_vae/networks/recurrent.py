"""The networks of the deep Markov model (Krishnan et al., 2017, https://arxiv.org/abs/1609.09869)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.sequences import sequence_mask
from pyro_vae.shapes import as_in_shape, check_part, input_shapes

from .mlp import MLP
from .network import leading_shape, leading_shape_of_all

__all__ = ["BackwardGRU", "Combiner", "GatedTransition"]


class GatedTransition(nn.Module):
    """The loc and log_scale of the next latent, between a linear and a nonlinear function of z.

        loc = (1 - g) * (W z + b) + g * f(z),   g = sigmoid(gate(z)),   log_scale = V relu(f(z)) + c

    It starts as a random walk, W = I and b = 0. The paper has softplus where the scale has exp.

    Args:
        in_shape: The shape of z.
        out_shape: (2, *in_shape), for loc and log_scale.
        network: A class that builds gate and f, both networks from in_shape to in_shape.

    Reference:
        Krishnan et al., 2017, https://arxiv.org/abs/1609.09869, section 3
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        network: Callable[[Sequence[int], Sequence[int]], nn.Module] = MLP,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        check_part("GatedTransition", "out_shape", self.out_shape, (2, *self.in_shape))
        size = math.prod(self.in_shape)
        self.gate, self.proposal = network(in_shape, in_shape), network(in_shape, in_shape)
        self.linear, self.log_scale = nn.Linear(size, size), nn.Linear(size, size)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Maps `(..., *in_shape)` to `(..., 2, *in_shape)`."""
        batch_shape = leading_shape(self, z, self.in_shape)
        g, proposal = self.gate(z).sigmoid(), self.proposal(z)
        flat = (*batch_shape, self.linear.in_features)
        linear = self.linear(z.reshape(flat)).reshape(z.shape)
        log_scale = self.log_scale(proposal.reshape(flat).relu()).reshape(z.shape)
        return torch.stack([(1 - g) * linear + g * proposal, log_scale], len(batch_shape))


class BackwardGRU(nn.Module):
    """h_t = GRU(x_t, h_t+1), read from the end of each sequence, so that h_t is of x_t, ..., x_T.

    What h is at the end is learned. NaN is read as 0, and steps after the end are passed over.

    Args:
        in_shape: The shape of one sequence, (T, *D).
        out_shape: (T, units).

    Reference:
        Krishnan et al., 2017, https://arxiv.org/abs/1609.09869, section 4
    """

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        check_part("BackwardGRU", "steps of the out_shape", self.out_shape[:-1], self.in_shape[:1])
        units = self.out_shape[-1]
        self.cell = nn.GRUCell(math.prod(self.in_shape[1:]), units)
        self.end = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(..., T, *D)` to `(..., T, units)`."""
        batch_shape = leading_shape(self, x, self.in_shape)
        rows = x.reshape(math.prod(batch_shape), self.in_shape[0], self.cell.input_size)
        lasts = sequence_mask(rows).unbind(1)
        h, found = self.end.expand(len(rows), -1), []
        steps = rows.masked_fill(rows.isnan(), 0.0).unbind(1)
        for x_t, goes_on in zip(steps[::-1], lasts[::-1], strict=True):
            h = torch.where(goes_on[:, None], self.cell(x_t, h), h)
            found.append(h)
        return torch.stack(found[::-1], 1).reshape(*batch_shape, *self.out_shape)


class Combiner(nn.Module):
    """The parameters of q(z_t | z_t-1, x), affine in (tanh(W z_t-1 + b) + h_t) / 2.

    Args:
        in_shape: The shapes of z_t-1 and of h_t, which is a vector.
        out_shape: The shape of one output, such as (2, latent_dim).

    Reference:
        Krishnan et al., 2017, https://arxiv.org/abs/1609.09869, section 4
    """

    def __init__(self, in_shape: Sequence[Sequence[int]], out_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape, self.out_shape = as_in_shape(in_shape), tuple(out_shape)
        z_shape, (units,) = input_shapes(in_shape)
        self.inner = nn.Linear(math.prod(z_shape), units)
        self.outer = nn.Linear(units, math.prod(self.out_shape))

    def forward(self, z: Tensor, h: Tensor) -> Tensor:
        """Maps z_t-1 and h_t, of broadcast leading shapes, to `(..., *out_shape)`."""
        shapes = input_shapes(self.in_shape)
        leading_shape_of_all(self, (z, h), shapes)
        flat = z.reshape(*leading_shape(self, z, shapes[0]), self.inner.in_features)
        joint = (self.inner(flat).tanh() + h) / 2
        return self.outer(joint).reshape(*joint.shape[:-1], *self.out_shape)
