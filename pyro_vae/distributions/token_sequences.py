"""A distribution over sequences of tokens that a network draws one after the other."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions.constraints import Constraint
from tqdm.auto import tqdm

from pyro_vae.sampling import sampling, sharpened

__all__ = ["TokenModel", "TokenSequences"]

# Without a gradient, as for the 500 particles of an evaluation, so many logits are made at once.
_LOGITS_AT_ONCE = 2**24


class TokenModel(Protocol):
    """What a distribution has to know of tokens: a likelihood such as `RecurrentTokens`."""

    num_tokens: int
    end: int | None

    def logits(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Of each token given h (R, C) and those before it: integers (R, t) to (R, t, V)."""

    def conditionals(self, h: Tensor, tokens: Tensor) -> Iterator[Tensor]:
        """Logits (R, V) of each place in turn.

        Args:
            h: (R, C).
            tokens: (R, T), filled in from the left between the steps of the iterator.
        """


class _Sequences(Constraint):
    """Tokens up to the end mark; from some place on -1, behind the mark always."""

    event_dim = 1
    is_discrete = True

    def __init__(self, num_tokens: int, end: int | None) -> None:
        self.num_tokens, self.end = num_tokens, end

    def check(self, value: Tensor) -> Tensor:
        tokens = value.long()
        is_there = (tokens >= 0) & (tokens < self.num_tokens) & (tokens == value)
        closed = ~is_there if self.end is None else ~is_there | (tokens == self.end)
        behind = closed.cumsum(-1).roll(1, -1)  # whether one before it is an end or missing
        behind[..., :1] = 0
        return (torch.where(behind > 0, value == -1, is_there | (value == -1))).all(-1)


class TokenSequences(dist.TorchDistribution):
    """p(x | h) = prod_t p(x_t | x_1, ..., x_{t-1}, h) over sequences of at most T tokens.

    A sequence is integers (T,). It ends with the end mark, behind which stands -1, or with its T-th
    token; probabilities of all such sequences sum to 1. One of fewer than T places, or with -1 from
    some place on, has the probability that a sequence begins like this, so that -1 behind a
    sequence changes nothing.

    Args:
        model: The network of the conditionals.
        h: What they depend on, (..., C).
        length: T.
    """

    arg_constraints: dict[str, Constraint] = {}

    def __init__(self, model: TokenModel, h: Tensor, length: int) -> None:
        self.model, self.h = model, h
        super().__init__(h.shape[:-1], torch.Size((length,)), validate_args=False)

    @property
    def support(self) -> Constraint:
        """Sequences of the model's tokens."""
        return _Sequences(self.model.num_tokens, self.model.end)

    @property
    def mean(self) -> Tensor:
        """The sequence of the most probable next tokens, since the mean of tokens is none."""
        with sampling(temperature=0.0):
            return self.sample()

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "TokenSequences":
        """The same distribution for each element of a larger batch."""
        h = self.h.expand(*batch_shape, self.h.shape[-1])
        return TokenSequences(self.model, h, self.event_shape[0])

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p by one pass over all places: integers (..., t), t up to T, to (...)."""
        batch_shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        tokens = value.long().expand(*batch_shape, value.shape[-1]).reshape(-1, value.shape[-1])
        h = self.h.expand(*batch_shape, self.h.shape[-1]).reshape(len(tokens), -1)
        rows = len(tokens)
        if not torch.is_grad_enabled():
            rows = max(1, _LOGITS_AT_ONCE // max(1, value.shape[-1] * self.model.num_tokens))
        parts = zip(tokens.split(rows), h.split(rows), strict=True)
        return torch.cat([self._log_prob(*part) for part in parts]).reshape(batch_shape)

    def _log_prob(self, tokens: Tensor, h: Tensor) -> Tensor:
        """Log p of rows: (R, t) and (R, C) to (R,)."""
        logits = self.model.logits(h, tokens.clamp(min=0)).flatten(0, 1)
        log_p = -F.cross_entropy(logits, tokens.flatten(), ignore_index=-1, reduction="none")
        return log_p.reshape(tokens.shape).sum(1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, ..., T), token after token, as `sampling` asks."""
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            h = self.h.expand(*shape, self.h.shape[-1]).reshape(shape.numel(), -1)
            tokens = torch.full((len(h), *self.event_shape), -1, device=h.device)
            goes_on = torch.ones(len(h), dtype=torch.bool, device=h.device)
            conditionals = self.model.conditionals(h, tokens)
            steps = tqdm(conditionals, "tokens", tokens.shape[1], leave=False, delay=2)
            for t, logits in enumerate(steps):
                drawn = torch.distributions.Categorical(logits=sharpened(logits)).sample()
                tokens[:, t] = torch.where(goes_on, drawn, -1)
                if self.model.end is not None:
                    goes_on = goes_on & (drawn != self.model.end)
                    if not goes_on.any():
                        break
        return tokens.reshape(*shape, *self.event_shape)
