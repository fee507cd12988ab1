"""Finite scalar quantization: codes that are a grid of numbers, with nothing to learn."""

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from pyro_vae.distributions import CodePoint

from .quantizer import Quantizer, straight_through

__all__ = ["FSQ"]

_EDGE = 1e-3  # how far the bound lies beyond the outer levels, so that rounding reaches them


class FSQ(Quantizer):
    """Each channel of z is rounded to one of a few numbers between -1 and 1.

    The codes are all combinations, prod(levels) of them. They are fixed, so there is no codebook
    that could collapse and no penalty. Channel i with L_i levels is bounded by tanh and rounded,
    with the gradient of the bounded number (straight through).

    Args:
        levels: L_i for each channel. (8, 6, 5) makes 240 codes, (8, 5, 5, 5) 1,000.

    Raises:
        ValueError: If a level is below 2 or no whole number, or the codes cannot be counted in 64
            bits.

    Reference:
        Mentzer et al., 2023, https://arxiv.org/abs/2309.15505, section 3.1 and appendix A.1
    """

    bound: Tensor
    offset: Tensor
    shift: Tensor
    place: Tensor
    size: Tensor

    def __init__(self, levels: Sequence[int] = (8, 6, 5)) -> None:
        if not isinstance(levels, Sequence) or not all(isinstance(n, Integral) for n in levels):
            raise ValueError(
                "the levels of FSQ are whole numbers, one for each channel, such as (8, 6, 5), but "
                f"got {levels!r}"
            )
        levels = tuple(levels)
        if not levels or min(levels) < 2:
            raise ValueError(f"FSQ needs at least 2 levels for each channel, but got {levels}")
        num_codes = math.prod(levels)
        if num_codes >= 2**63:
            raise ValueError(
                f"levels {levels} make {num_codes:.1e} codes, more than 64 bits can number"
            )
        super().__init__(num_codes, len(levels))
        self.levels = levels
        size = torch.tensor(levels)
        # Beyond 1,000 levels the edge would be wide enough to round to a level that there is not.
        bound = ((size - 1) * (1 + _EDGE) / 2).minimum(size / 2 - 0.1)
        offset = torch.where(size % 2 == 0, 0.5, 0.0)  # an even number of levels has no 0
        places = [math.prod(levels[:i]) for i in range(len(levels))]
        for name, value in {
            "size": size,
            "bound": bound,
            "offset": offset,
            # h = 0 is the middle level. Two levels have none, and would need h < -3.8 for the lower
            # one, which an encoder does not give at first: there h = 0 is the border of the two.
            "shift": torch.where(size == 2, 0.0, (offset / bound).atanh()),
            "place": torch.tensor(places),
        }.items():
            self.register_buffer(name, value[:, None, None], persistent=False)

    def forward(self, h: Tensor) -> CodePoint:
        """Maps h (..., D, H, W) to the point at its rounded channels."""
        bounded = (h + self.shift).tanh() * self.bound - self.offset
        return CodePoint(self, straight_through(bounded.round(), bounded) / (self.size // 2))

    def indices(self, z: Tensor) -> Tensor:
        """The number of each code, whose digits are its levels: (..., D, H, W) to (..., H, W)."""
        half = self.size // 2
        digits = (z * half + half).round().long()
        return (digits.clamp(0).minimum(self.size - 1) * self.place).sum(-3)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of given numbers: (..., H, W) to (..., D, H, W)."""
        half = self.size // 2
        digits = indices.unsqueeze(-3) // self.place % self.size
        return (digits - half).to(self.bound.dtype) / half
