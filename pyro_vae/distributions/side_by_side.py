"""Entries of several distributions side by side, of which some may be missing."""

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

__all__ = ["SideBySide"]


class SideBySide(dist.TorchDistribution):
    """Entries of several distributions side by side, each entry a batch of its own.

    Args:
        columns: Distributions of independent entries, of one batch shape.
        stand_ins: A number in the support of each, taken where an entry is NaN.
        x_shape: The shape of all entries, which ends the batch shape.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self, columns: Sequence[Any], stand_ins: Sequence[float], x_shape: Sequence[int]
    ) -> None:
        self.columns, self.stand_ins, self.x_shape = columns, stand_ins, tuple(x_shape)
        super().__init__(columns[0].batch_shape + torch.Size(x_shape))

    @property
    def support(self) -> constraints.Constraint:
        """NaN, or what the entry's own column accepts."""
        return _OrMissing(self)

    @property
    def has_rsample(self) -> bool:
        """Whether the draws of all columns carry a gradient."""
        return all(column.has_rsample for column in self.columns)

    @property
    def mean(self) -> Tensor:
        """The mean of each entry, (..., *x_shape)."""
        return self.join([column.mean for column in self.columns])

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "SideBySide":
        """The same in a larger batch; x_shape ends it."""
        leading = torch.Size(batch_shape[: len(batch_shape) - len(self.x_shape)])
        columns = [column.expand(leading) for column in self.columns]
        return SideBySide(columns, self.stand_ins, self.x_shape)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of all entries, (..., *x_shape)."""
        return self.join([column.sample(torch.Size(sample_shape)) for column in self.columns])

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws with a gradient, (..., *x_shape)."""
        return self.join([column.rsample(torch.Size(sample_shape)) for column in self.columns])

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of each entry, 0 where it is NaN: (..., *x_shape)."""
        if self._validate_args:
            self._validate_sample(value)
        parts = zip(self.columns, self.split(value), strict=True)
        log_p = self.join([column.base_dist.log_prob(x) for column, x in parts])
        return log_p.masked_fill(value.isnan(), 0.0)

    def split(self, value: Tensor) -> list[Tensor]:
        """The entries of each column, (..., *column.event_shape), with no NaN left."""
        flat = value.reshape(*value.shape[: value.dim() - len(self.x_shape)], -1)
        sizes = [column.event_shape.numel() for column in self.columns]
        parts = zip(self.columns, self.stand_ins, flat.split(sizes, -1), strict=True)
        # NaN must not enter a density: masked afterwards, it would still make the gradient NaN.
        return [
            torch.where(x.isnan(), stand_in, x).reshape(*x.shape[:-1], *column.event_shape)
            for column, stand_in, x in parts
        ]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Entries of each column (..., *column.event_shape) as (..., *x_shape)."""
        flat = [
            part.reshape(*part.shape[: part.dim() - column.event_dim], -1)
            for column, part in zip(self.columns, parts, strict=True)
        ]
        entries = torch.cat(flat, -1)
        return entries.reshape(*entries.shape[:-1], *self.x_shape)


class _OrMissing(constraints.Constraint):
    """NaN, or what the entry's own column accepts."""

    def __init__(self, entries: SideBySide) -> None:
        self.entries = entries

    def check(self, value: Tensor) -> Tensor:
        parts = zip(self.entries.columns, self.entries.split(value), strict=True)
        return self.entries.join([c.base_dist.support.check(x) for c, x in parts])
