"""The prior of a VQ-VAE at first: all grids of codes are equally probable."""

import torch
from torch import Tensor

from .codes_prior import CodesPrior

__all__ = ["UniformCodes"]


class UniformCodes(CodesPrior):
    """p(z) = 1 / (the number of grids): its rate is the same for each datum.

    Reference:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937, section 3.1
    """

    like: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def log_prob_of(self, indices: Tensor) -> Tensor:
        """-(number of choices) log K for each grid: (..., *code_grid) to (...)."""
        posterior, (_, height, width) = self._attached
        log_number = posterior.log_num_grids(height, width)
        return self.like.new_full((), -log_number).expand(indices.shape[:-2])

    def draw(self, sample_shape: torch.Size) -> Tensor:
        """Draws numbers of codes, (*sample_shape, *code_grid)."""
        shape = (*sample_shape, *self.code_grid)
        return torch.randint(self.num_codes, shape, device=self.like.device)
