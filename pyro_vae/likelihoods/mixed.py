"""Tables: columns of different kinds side by side, with entries missing (Nazabal et al., 2020)."""

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.distributions import SideBySide

from .real import Normal

__all__ = ["Mixed"]


class Mixed(nn.Module):
    """Columns with a likelihood each: p(x | h) = prod_i p_i(x_i | h_i), over what is not missing.

    An entry that is NaN is missing and left out of the product: log p(x | h) is that of the
    observed entries, which is right if entries are missing at random. h is a vector, the parameters
    of the columns one after the other.

    Args:
        x_shape: The shape of one datum.
        columns: Likelihoods of consecutive entries of the flattened x; None is `Normal` for all,
            each entry with a scale of its own, learned.

    Raises:
        ValueError: If the columns do not add up to x_shape, or if one has no density for each of
            its entries: `DiscretizedLogisticMixture` and `OptimalNormal`.

    Example:
        >>> likelihood = Mixed((3,), columns=[Normal((1,)), Nominal((2,), num_classes=5)])
        >>> likelihood.param_shape
        (11,)
        >>> likelihood(torch.zeros(11)).log_prob(torch.tensor([torch.nan, 4.0, torch.nan])).exp()
        tensor(0.2000, grad_fn=<ExpBackward0>)

    Reference:
        Nazabal et al., 2020 (HI-VAE), https://arxiv.org/abs/1807.03653
    """

    def __init__(
        self, x_shape: Sequence[int], *, columns: Sequence[nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.x_shape = tuple(x_shape)
        parts: Sequence[Any] = [Normal(x_shape, per_pixel=True)] if columns is None else columns
        sizes = [math.prod(part.x_shape) for part in parts]
        if sum(sizes) != math.prod(self.x_shape) or not sizes:
            raise ValueError(
                f"the columns have {sizes} entries, {sum(sizes)} in all, but x_shape is "
                f"{self.x_shape}; give each entry one column"
            )
        self.columns = nn.ModuleList(parts)
        self.param_sizes = [math.prod(part.param_shape) for part in parts]
        self.param_shape = (sum(self.param_sizes),)
        self.stand_ins = [_stand_in(part) for part in parts]

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., *param_shape) to a distribution over x (..., *x_shape)."""
        columns: Sequence[Any] = list(self.columns)
        parts = zip(columns, h.split(self.param_sizes, -1), strict=True)
        p = [column(part.reshape(*h.shape[:-1], *column.param_shape)) for column, part in parts]
        return SideBySide(p, self.stand_ins, self.x_shape).to_event(len(self.x_shape))


def _stand_in(column: Any) -> float:
    """A number in the support of a column."""
    like = next(column.parameters(), torch.zeros(()))
    p = column(like.new_zeros(column.param_shape))
    if not isinstance(p, dist.Independent) or p.base_dist.event_shape:
        raise ValueError(
            f"a {type(column).__name__} has no density for each entry, so that it cannot leave out "
            "a missing one; take another likelihood for this column"
        )
    support = p.base_dist.support
    for number in (0.0, 0.5, 1.0):
        if support.check(like.new_tensor(number)).all():
            return number
    raise ValueError(
        f"the support of a {type(column).__name__} holds none of 0, 1/2 and 1, one of which must "
        "stand for missing entries; take another likelihood for this column"
    )
