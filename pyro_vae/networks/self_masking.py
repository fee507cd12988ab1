"""The logits that each entry, by its own value alone, is observed (Ipsen et al., 2021)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .network import leading_shape

__all__ = ["SelfMasking"]


class SelfMasking(nn.Module):
    """Whether an entry is seen depends on itself: logit p(s_j = 1 | x_j) = -w_j (x_j - b_j).

    s_j = 1 means that x_j is observed. If it is known which values go missing, w_j has a sign, and
    is plus or minus softplus of a parameter; else w_j is free. b_j is where an entry is as often
    missing as not.

    Args:
        in_shape: The shape of x.
        out_shape: The same shape.
        direction: 1 where large values go missing, -1 where small ones do, and None where that is
            not known.

    Raises:
        ValueError: If the shapes differ, or `direction` is another one.

    Reference:
        Ipsen et al., 2021, https://arxiv.org/abs/2006.12871, section 3.1
    """

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], *, direction: int | None = None
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if self.in_shape != self.out_shape:
            raise ValueError(
                f"SelfMasking maps each entry to its own logit, but in_shape is {self.in_shape} "
                f"and out_shape {self.out_shape}; give one shape, or take an MLP"
            )
        if direction not in (None, 1, -1):
            raise ValueError(
                f"direction must be 1, if large values go missing, -1, if small ones do, or None, "
                f"but is {direction!r}"
            )
        self.direction = direction
        # |w| starts at 1, and without a direction near 0, where neither is preferred.
        start = 0.1 * torch.randn(self.in_shape)
        if direction is not None:
            start = torch.full(self.in_shape, math.log(math.e - 1))
        self.weight = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(self.in_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(..., *in_shape)` to logits of the same shape."""
        leading_shape(self, x, self.in_shape)
        return -self.slope * (x - self.bias)

    @property
    def slope(self) -> Tensor:
        """How much less often larger values of each entry are seen: w, of in_shape."""
        return self.weight if self.direction is None else self.direction * softplus(self.weight)
