"""Distributions over grids of code vectors, the latents of a VQ-VAE (van den Oord et al., 2017).

A grid z (D, H, W) holds at each of its positions one vector of D numbers out of a finite set. Its
numbers, or indices, are integers (rows, W): H rows where each position takes one code, and more
where it takes several.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from .estimated_density import EstimatedDensity

__all__ = ["CodeBook", "CodePoint", "CodesDistribution", "RelaxedCodes", "StochasticCodes"]


class CodeBook(Protocol):
    """What a distribution has to know of codes: a `Quantizer` of `pyro_vae.posteriors`."""

    num_codes: int

    def indices(self, z: Tensor) -> Tensor:
        """The numbers of the codes of a grid: (..., D, H, W) to integers (..., rows, W)."""

    def vectors(self, indices: Tensor) -> Tensor:
        """The grid of the codes of given numbers: (..., rows, W) to (..., D, H, W)."""


class _MovedBy(Constraint):
    """A set of grids that moves with some tensors: estimators that take a score refuse it."""

    event_dim = 3
    is_discrete = True  # between two grids of codes there is none

    def __init__(self, contains: Callable[[Tensor], Tensor], *tensors: Tensor) -> None:
        self._contains, self.tensors = contains, tensors

    def check(self, value: Tensor) -> Tensor:
        return self._contains(value)


class _Grids(Constraint):
    """Grids of codes, whichever these are."""

    event_dim = 3
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite().flatten(-3).all(-1)


class CodePoint(dist.TorchDistribution):
    """q(z | x) of a deterministic guide: probability 1 at one grid of codes.

    Since the codes are a finite set, log q(z | x) = 0 at the point is an honest term of the ELBO,
    which a point of R^D, such as that of an autoencoder, has none of.

    Args:
        book: The codes.
        codes: The grid, (..., D, H, W), with the gradient that a draw is to have, by the
            straight-through estimator that of the encoder's output.
        penalties: What pulls encoder and codes together, by name, (...); no part of any bound.
    """

    arg_constraints: dict[str, Constraint] = {}
    has_rsample = True

    def __init__(
        self, book: CodeBook, codes: Tensor, penalties: dict[str, Tensor] | None = None
    ) -> None:
        self.book, self.codes, self.penalties = book, codes, penalties or {}
        super().__init__(codes.shape[:-3], codes.shape[-3:], validate_args=False)

    @property
    def support(self) -> Constraint:
        """The point, which parameters move."""
        return _MovedBy(self._contains, self.codes)

    @property
    def mean(self) -> Tensor:
        """The point, (..., D, H, W)."""
        return self.codes

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "CodePoint":
        """The same point for each element of a larger batch."""
        codes = self.codes.expand(*batch_shape, *self.event_shape)
        penalties = {name: value.expand(*batch_shape) for name, value in self.penalties.items()}
        return CodePoint(self.book, codes, penalties)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """The point, (*sample_shape, ..., D, H, W), with its gradient."""
        return self.codes.expand(*sample_shape, *self.codes.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """0 at the point and -infinity elsewhere: (..., D, H, W) to (...)."""
        zero = torch.zeros((), dtype=value.dtype, device=value.device)
        return torch.where(self._contains(value), zero, -torch.inf)

    def _contains(self, value: Tensor) -> Tensor:
        return (value == self.codes).flatten(-3).all(-1)


class StochasticCodes(dist.TorchDistribution):
    """q(z | x): at each position an independent draw of a code.

    Args:
        book: The codes.
        logits: Of the codes at each position, (..., H, W, K).
        codes: The codes themselves, (K, D).

    Reference:
        Takida et al., 2022, https://arxiv.org/abs/2205.07547
    """

    arg_constraints: dict[str, Constraint] = {}

    def __init__(self, book: CodeBook, logits: Tensor, codes: Tensor) -> None:
        self.book, self.logits, self.codes = book, logits, codes
        *batch_shape, height, width, _ = logits.shape
        event_shape = torch.Size((codes.shape[-1], height, width))
        super().__init__(torch.Size(batch_shape), event_shape, validate_args=False)

    @property
    def support(self) -> Constraint:
        """The grids of codes, which move with the codes."""
        return _MovedBy(self._contains, self.codes)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, ..., D, H, W)."""
        with torch.no_grad():
            noise = dist.Gumbel(torch.zeros_like(self.logits), 1.0).sample(torch.Size(sample_shape))
            return self.book.vectors((self.logits + noise).argmax(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log q at a grid of codes: (..., D, H, W) to (...)."""
        with torch.no_grad():
            indices = self.book.indices(value).unsqueeze(-1)
        log_q, indices = torch.broadcast_tensors(self.logits.log_softmax(-1), indices)
        return log_q.gather(-1, indices[..., :1]).sum((-3, -2, -1))

    def _contains(self, value: Tensor) -> Tensor:
        nearest = self.book.vectors(self.book.indices(value))
        return (value == nearest).flatten(-3).all(-1)


class RelaxedCodes(EstimatedDensity):
    """`StochasticCodes` in training: draws mix the codes of a position, and carry a gradient.

    A position's draw is the mean of the codes with weights softmax((logits + Gumbel noise) /
    temperature). Since it is no code, `log_prob` is E_q[log q], minus the entropy, whatever the
    value: the mean over the codes of what an ELBO would draw, and no density for anything else.

    Args:
        logits: Of the codes at each position, (..., H, W, K).
        codes: The codes themselves, (K, D).
        temperature: Of the weights.

    Reference:
        Takida et al., 2022, https://arxiv.org/abs/2205.07547; the relaxation: Jang et al., 2017,
        https://arxiv.org/abs/1611.01144
    """

    arg_constraints: dict[str, Constraint] = {}
    has_rsample = True
    is_exact_on_average = True

    def __init__(self, logits: Tensor, codes: Tensor, temperature: float) -> None:
        self.logits, self.codes, self.temperature = logits, codes, temperature
        *batch_shape, height, width, _ = logits.shape
        event_shape = torch.Size((codes.shape[-1], height, width))
        super().__init__(torch.Size(batch_shape), event_shape, validate_args=False)

    @property
    def support(self) -> Constraint:
        """What mixtures of codes reach, which moves with the codes."""
        return _MovedBy(lambda value: value.isfinite().flatten(-3).all(-1), self.codes)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, ..., D, H, W), with a gradient."""
        noise = dist.Gumbel(torch.zeros_like(self.logits), 1.0).sample(torch.Size(sample_shape))
        weights = ((self.logits + noise) / self.temperature).softmax(-1)
        return (weights @ self.codes).movedim(-1, -3)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the entropy of the codes, for any value (..., D, H, W), (...)."""
        log_q = self.logits.log_softmax(-1)
        return (log_q.exp() * log_q).sum((-3, -2, -1)).expand(value.shape[:-3])


class CodesDistribution(dist.TorchDistribution):
    """p(z) on grids of codes, by the probabilities of their numbers.

    Args:
        book: The codes.
        event_shape: (D, H, W).
        log_p: Maps numbers of codes (..., *batch_shape, rows, W) to their log probability
            (..., *batch_shape).
        draw: Draws numbers of codes, (*shape, rows, W), for a shape that ends with batch_shape.
        batch_shape: Of the distribution; those of p(z | y) at several y differ.
    """

    arg_constraints: dict[str, Constraint] = {}
    support = _Grids()

    def __init__(
        self,
        book: CodeBook,
        event_shape: Sequence[int],
        log_p: Callable[[Tensor], Tensor],
        draw: Callable[[torch.Size], Tensor],
        batch_shape: Sequence[int] = (),
    ) -> None:
        self.book, self._log_p, self._draw = book, log_p, draw
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "CodesDistribution":
        """The same distribution for each element of a larger batch."""
        return CodesDistribution(self.book, self.event_shape, self._log_p, self._draw, batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p of grids of codes: (..., D, H, W) to (...).

        It has a gradient for the parameters of p, and none for z, which takes separate values.
        """
        shape = torch.broadcast_shapes(value.shape[:-3], self.batch_shape)
        value = value.expand(*shape, *value.shape[-3:])
        with torch.no_grad():
            indices = self.book.indices(value)
        return self._log_p(indices)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D, H, W)."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            return self.book.vectors(self._draw(shape))
