"""What the priors of codes share: they give probabilities to the numbers of codes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer.util import is_validation_enabled
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
            ValueError: If the posterior has no codes, the encoder declares no grid, or another
                program's codes are attached already.
        """
        if not hasattr(posterior, "num_codes"):
            raise ValueError(
                f"{type(self).__name__} is a prior of codes, but {type(posterior).__name__} has "
                "none; use a posterior such as NearestCode or FSQ"
            )
        out_shape = tuple(getattr(encoder, "out_shape", ()))
        if len(out_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} takes the grid of codes from the out_shape of the encoder, "
                f"(channels, height, width), but that of this {type(encoder).__name__} is "
                f"{out_shape or 'not declared'}; set encoder.out_shape"
            )
        _, height, width = out_shape
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
        return self.distribution(self.log_prob_of, self.draw)

    def distribution(
        self,
        log_p: Callable[[Tensor], Tensor],
        draw: Callable[[torch.Size], Tensor],
        batch_shape: Sequence[int] = (),
    ) -> CodesDistribution:
        """A distribution over the grids of the program's codes; see `CodesDistribution`."""
        if not self._attached:
            raise RuntimeError(
                f"this {type(self).__name__} has no codes yet; give it to a program such as VQVAE, "
                "or call attach(encoder, posterior) in a program of your own"
            )
        posterior, event_shape = self._attached
        return CodesDistribution(posterior, event_shape, log_p, draw, batch_shape)


class AutoregressiveCodes(CodesPrior):
    """p(z) = prod_i p(k_i | k_1, ..., k_{i-1}), the positions row by row; or p(z | y), likewise.

    A subclass has `logits` for all positions at once, and `conditionals`, which gives them one
    after the other.

    Args:
        num_classes: The number of classes y of p(z | y); 0 for p(z).
    """

    def __init__(self, num_classes: int = 0) -> None:
        super().__init__()
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0 or more, but is {num_classes}")
        self.num_classes = num_classes

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        """Returns p(z), batch shape (), or p(z | y) for classes y, batch shape that of y.

        Raises:
            ValueError: If y is left out of a prior with classes, or given to one without; and,
                while Pyro's validation is on, if it is no class. Without it, the density of such a
                label is NaN.
        """
        name = type(self).__name__
        if y is None:
            if self.num_classes:
                raise ValueError(
                    f"this {name} is p(z | y) of {self.num_classes} classes y, which are not "
                    "given; use Refit(program, prior=...), whose model takes them"
                )
            return self.distribution(self.log_prob_of, self.draw)
        if not self.num_classes:
            raise ValueError(f"this {name} takes no class; give it num_classes")
        if is_validation_enabled():
            self.check_classes(y)
        return self.distribution(partial(self.log_prob_of, y=y), partial(self.draw, y=y), y.shape)

    def check_classes(self, y: Tensor) -> None:
        """Refuses labels that are no classes of this prior."""
        if not ((y >= 0) & (y < self.num_classes)).all():
            raise ValueError(
                f"the classes of this {type(self).__name__} are 0 to {self.num_classes - 1}, but "
                f"labels run from {y.min()} to {y.max()}; leave out what has no label, or give "
                "more num_classes"
            )

    def logits(self, indices: Tensor, y: Tensor | None = None) -> Tensor:
        """Of each code given those before it, and y (N,): (N, rows, W) to (N, rows, W, K)."""
        raise NotImplementedError

    def conditionals(self, indices: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        """Logits (N, K) of each position in turn, which reads the codes drawn before it.

        Args:
            indices: (N, rows, W), filled in row by row between the steps of the iterator.
            y: Classes (N,), if the prior has some.
        """
        raise NotImplementedError

    def log_prob_of(self, indices: Tensor, y: Tensor | None = None) -> Tensor:
        """Log p of numbers of codes: (..., *code_grid), with classes (...), to (...)."""
        batch_shape = indices.shape[:-2]
        flat = indices.reshape(-1, *self.code_grid)
        given = None if y is None else y.long().expand(batch_shape).reshape(-1)
        known = None if given is None else given.clamp(0, self.num_classes - 1)
        log_p = self.logits(flat, known).log_softmax(-1).gather(-1, flat.unsqueeze(-1))
        total = log_p.sum((-3, -2, -1))
        if given is not None:
            total = torch.where(given == given.clamp(0, self.num_classes - 1), total, torch.nan)
        return total.reshape(batch_shape)

    def draw(self, shape: torch.Size, y: Tensor | None = None) -> Tensor:
        """Draws numbers of codes, (*shape, *code_grid), position by position."""
        device = next(self.parameters()).device
        indices = torch.zeros(shape.numel(), *self.code_grid, dtype=torch.int64, device=device)
        in_order = indices.view(len(indices), -1)
        given = None if y is None else y.long().expand(shape).reshape(-1)
        conditionals = self.conditionals(indices, given)
        steps = tqdm(conditionals, "codes", in_order.shape[1], leave=False, delay=2)
        for i, logits in enumerate(steps):
            in_order[:, i] = torch.distributions.Categorical(logits=sharpened(logits)).sample()
        return indices.reshape(*shape, *self.code_grid)
