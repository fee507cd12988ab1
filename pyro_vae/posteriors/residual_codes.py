"""Several codes at each position, each for what the ones before it have left."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.distributions import CodePoint

from .nearest_code import NearestCode
from .quantizer import Quantizer, straight_through

__all__ = ["ResidualCodes"]


class ResidualCodes(Quantizer):
    """Each position takes `choices` codes in turn, of which each is nearest to what is left of h.

    z holds their partial sums e_1, e_1 + e_2, ... one after the other in its channels, of which
    the last is the approximation of h. So z says which codes were chosen, and a decoder may read
    coarse and fine.

    Args:
        num_codes: K, of each choice.
        code_dim: The numbers of one code; z has choices times as many channels.
        choices: How many codes a position takes.
        decay: As for `NearestCode`.
        restart_below: As for `NearestCode`.

    Reference:
        Zeghidour et al., 2021, https://arxiv.org/abs/2107.03312, section III.C; Lee et al., 2022,
        https://arxiv.org/abs/2203.01941
    """

    def __init__(
        self,
        num_codes: int = 512,
        code_dim: int = 64,
        *,
        choices: int = 2,
        decay: float | None = 0.99,
        restart_below: float = 0.1,
    ) -> None:
        if choices < 1:
            raise ValueError(f"choices must be at least 1, but is {choices}")
        super().__init__(num_codes, choices * code_dim, choices=choices, param_dim=code_dim)
        self.steps: Any = nn.ModuleList(
            NearestCode(num_codes, code_dim, decay=decay, restart_below=restart_below)
            for _ in range(choices)
        )

    def forward(self, h: Tensor) -> CodePoint:
        """Maps h (..., param_dim, H, W) to the point at the partial sums of its codes."""
        sums: list[Tensor] = []
        penalties: dict[str, Tensor] = {}
        for step in self.steps:
            rest = h - sums[-1] if sums else h
            indices = step.indices(rest)
            code = step.vectors(indices)
            for name, value in step.penalties(rest, code).items():
                penalties[name] = penalties.get(name, 0.0) + value
            sums.append(sums[-1] + code.detach() if sums else code.detach())
            step.observe(rest, indices)
        z = torch.cat([straight_through(total, h) for total in sums], -3)
        return CodePoint(self, z, penalties)

    def indices(self, z: Tensor) -> Tensor:
        """The numbers of the codes: (..., code_dim, H, W) to (..., choices * H, W)."""
        sums = z.chunk(self.choices, -3)
        codes = [sums[0], *(b - a for a, b in pairwise(sums))]
        return torch.cat([s.indices(c) for s, c in zip(self.steps, codes, strict=True)], -2)

    def vectors(self, indices: Tensor) -> Tensor:
        """The partial sums of the codes of given numbers: (..., choices * H, W) to z."""
        rows = indices.chunk(self.choices, -2)
        codes = [step.vectors(row) for step, row in zip(self.steps, rows, strict=True)]
        return torch.cat(list(accumulate(codes)), -3)
