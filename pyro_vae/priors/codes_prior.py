"""What the priors of codes share: they give probabilities to the numbers of codes."""

from collections.abc import Iterator
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.distributions import CodesDistribution
from pyro_vae.sampling import sharpened

__all__: list[str] = []  # no prior by itself


class CodesPrior(nn.Module):
    """p(z) over grids of codes, by the probabilities of their numbers.

    The program tells it which codes there are, by `attach`. A subclass has `log_prob_of` and
    `draw`, and makes what depends on their number in `prepare`.
    """

    def __init__(self) -> None:
        super().__init__()
        # In a tuple, which a module does not look into: no weight is saved twice.
        self._attached: tuple[Any, ...] = ()
        self.num_codes = 0
        self.code_grid: tuple[int, int] = (0, 0)

    def attach(self, encoder: Any, posterior: Any) -> None:
        """Takes the codes from a program's quantizer, and their grid from its encoder.

        Raises:
            ValueError: If the posterior has no codes.
        """
        if not hasattr(posterior, "num_codes"):
            raise ValueError(
                f"{type(self).__name__} is a prior of codes, but {type(posterior).__name__} has "
                "none; use a posterior such as NearestCode or FSQ"
            )
        _, height, width = encoder.out_shape
        grid = (posterior.choices * height, width)
        if self._attached and (self.num_codes, self.code_grid) != (posterior.num_codes, grid):
            raise ValueError(
                f"this {type(self).__name__} is for {self.num_codes} codes on a grid of "
                f"{self.code_grid}, but the program has {posterior.num_codes} on {grid}; make a "
                "new one"
            )
        is_new = not self._attached
        self._attached = (posterior, (posterior.code_dim, height, width))
        self.num_codes, self.code_grid = posterior.num_codes, grid
        if is_new:
            self.prepare()

    def prepare(self) -> None:
        """Makes what depends on `num_codes` and `code_grid`."""

    def log_prob_of(self, indices: Tensor) -> Tensor:
        """Log p of numbers of codes: (..., *code_grid) to (...)."""
        raise NotImplementedError

    def draw(self, sample_shape: torch.Size) -> Tensor:
        """Draws numbers of codes, (*sample_shape, *code_grid)."""
        raise NotImplementedError

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), event shape that of the grid."""
        if not self._attached:
            raise RuntimeError(
                f"this {type(self).__name__} has no codes yet; give it to a program such as VQVAE"
            )
        posterior, event_shape = self._attached
        return CodesDistribution(posterior, event_shape, self.log_prob_of, self.draw)


class AutoregressiveCodes(CodesPrior):
    """p(z) = prod_i p(k_i | k_1, ..., k_{i-1}), the positions row by row.

    A subclass has `logits` for all positions at once, and `conditionals`, which gives them one
    after the other.
    """

    def logits(self, indices: Tensor) -> Tensor:
        """Of each code given those before it: (N, rows, W) to (N, rows, W, K)."""
        raise NotImplementedError

    def conditionals(self, indices: Tensor) -> Iterator[Tensor]:
        """Logits (N, K) of each position in turn, which reads the codes drawn before it.

        Args:
            indices: (N, rows, W), filled in row by row between the steps of the iterator.
        """
        raise NotImplementedError

    def log_prob_of(self, indices: Tensor) -> Tensor:
        """Log p of numbers of codes: (..., *code_grid) to (...)."""
        flat = indices.reshape(-1, *self.code_grid)
        log_p = self.logits(flat).log_softmax(-1).gather(-1, flat.unsqueeze(-1))
        return log_p.sum((-3, -2, -1)).reshape(indices.shape[:-2])

    def draw(self, sample_shape: torch.Size) -> Tensor:
        """Draws numbers of codes, (*sample_shape, *code_grid), position by position."""
        device = next(self.parameters()).device
        indices = torch.zeros(
            sample_shape.numel(), *self.code_grid, dtype=torch.int64, device=device
        )
        in_order = indices.view(len(indices), -1)
        steps = tqdm(self.conditionals(indices), "codes", in_order.shape[1], leave=False, delay=2)
        for i, logits in enumerate(steps):
            in_order[:, i] = torch.distributions.Categorical(logits=sharpened(logits)).sample()
        return indices.reshape(*sample_shape, *self.code_grid)
