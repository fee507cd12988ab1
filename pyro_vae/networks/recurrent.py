"""Networks of sequences (Krishnan et al., 2017, https://arxiv.org/abs/1609.09869)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["BackwardGRU", "Combiner", "GatedTransition", "sequence_mask"]


def sequence_mask(x: Tensor) -> Tensor:
    """Whether a sequence still lasts at each step, (N, T), for x (N, T, *D)."""
    observed = ~x.reshape(*x.shape[:2], -1).isnan().all(-1)
    return observed.flip(1).cumsum(1).flip(1) > 0


class GatedTransition(nn.Module):
    """loc = (1 - g) * (W z + b) + g * f(z) with gate g(z), and log_scale from f(z).

    It starts as a random walk, W = I. The paper has softplus for exp.
    """

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], *, network: Callable[..., Any]
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        (dim,) = in_shape
        self.gate, self.proposal = network(in_shape, in_shape), network(in_shape, in_shape)
        self.linear, self.log_scale = nn.Linear(dim, dim), nn.Linear(dim, dim)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, z: Tensor) -> Tensor:
        g, proposal = self.gate(z).sigmoid(), self.proposal(z)
        loc = (1 - g) * self.linear(z) + g * proposal
        return torch.stack([loc, self.log_scale(proposal.relu())], -2)


class BackwardGRU(nn.Module):
    """h_t = GRU(x_t, h_t+1) from the end of each sequence, where h is learned; NaN is read as 0."""

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        units = out_shape[-1]
        self.cell = nn.GRUCell(torch.Size(in_shape[1:]).numel(), units)
        self.end = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.masked_fill(x.isnan(), 0.0).reshape(*x.shape[:2], -1)
        h, found = self.end.expand(len(x), -1), []
        for x_t, lasts in zip(rows.unbind(1)[::-1], sequence_mask(x).unbind(1)[::-1], strict=True):
            h = torch.where(lasts[:, None], self.cell(x_t, h), h)
            found.append(h)
        return torch.stack(found[::-1], 1)


class Combiner(nn.Module):
    """(loc, log_scale) of z_t, affine in (tanh(W z_t-1 + b) + h_t) / 2."""

    def __init__(self, in_shape: Sequence[Any], out_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(map(tuple, in_shape)), tuple(out_shape)
        (dim,), (units,) = in_shape
        self.inner = nn.Linear(dim, units)
        self.outer = nn.Linear(units, torch.Size(out_shape).numel())

    def forward(self, z: Tensor, h: Tensor) -> Tensor:
        return self.outer((self.inner(z).tanh() + h) / 2).unflatten(-1, self.out_shape)
