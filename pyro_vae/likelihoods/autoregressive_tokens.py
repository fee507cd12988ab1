"""What the likelihoods of token sequences share."""

from collections.abc import Collection, Iterator, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.distributions import TokenSequences

__all__: list[str] = []  # no likelihood by itself


class AutoregressiveTokens(nn.Module):
    """p(x | h) = prod_t p(x_t | x_1, ..., x_{t-1}, h) for tokens x_t; see `TokenSequences`.

    A subclass has `logits` and `conditionals`, as `TokenModel` says.

    Args:
        x_shape: (T,), T the number of places, that of the end mark included.
        num_tokens: V, the number of tokens, the end mark included.
        end: The token that ends a sequence; None if all sequences have T tokens.
        context: How the tokens see h, such as ("state", "inputs"); () if they do not.
        contexts: What `context` is made of here.
        context_dim: The size of h.
        word_dropout: The share of the preceding tokens that training hides.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        num_tokens: int,
        end: int | None,
        context: Collection[str],
        contexts: Collection[str],
        context_dim: int,
        word_dropout: float,
    ) -> None:
        super().__init__()
        name, self.x_shape = type(self).__name__, tuple(x_shape)
        if len(self.x_shape) != 1 or self.x_shape[0] < 1:
            raise ValueError(
                f"x_shape is {self.x_shape}, but a {name} is of sequences (T,) of token numbers"
            )
        check_sizes(num_tokens=num_tokens, context_dim=context_dim)
        if end is not None and not 0 <= end < num_tokens:
            raise ValueError(
                f"end is {end}, but the tokens are 0 to {num_tokens - 1}; give one of them, or "
                "None if all sequences have the same length"
            )
        context = (context,) if isinstance(context, str) else tuple(context)
        if unknown := set(context) - set(contexts):
            raise ValueError(
                f"context has {', '.join(map(repr, sorted(unknown)))}, but a {name} knows "
                f"{', '.join(map(repr, contexts))}"
            )
        if not 0 <= word_dropout <= 1:
            raise ValueError(f"word_dropout must be from 0 to 1, but is {word_dropout}")
        self.num_tokens, self.end, self.context = num_tokens, end, context
        self.word_dropout, self.param_shape = word_dropout, (context_dim,)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """Maps h (..., context_dim) to a distribution over token numbers x (..., T)."""
        return TokenSequences(self, h, *self.x_shape)

    def logits(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Of each token given h (R, C) and those before it: integers (R, t) to (R, t, V)."""
        raise NotImplementedError

    def conditionals(self, h: Tensor, tokens: Tensor) -> Iterator[Tensor]:
        """Logits (R, V) of each place in turn; see `TokenModel`."""
        raise NotImplementedError

    @property
    def num_marks(self) -> int:
        """The rows of an embedding: the tokens, what stands before the first, what hides one."""
        return self.num_tokens + 2

    def before(self, tokens: Tensor) -> Tensor:
        """The token before each place, (R, t); in training some of them hidden."""
        start = self.start(tokens)
        before = tokens[:, :-1]
        if self.training and self.word_dropout:
            hidden = torch.rand(before.shape, device=before.device) < self.word_dropout
            before = torch.where(hidden, self.num_tokens + 1, before)
        return torch.cat([start, before], 1)

    def start(self, tokens: Tensor) -> Tensor:
        """What stands before the first token, (R, 1)."""
        return tokens.new_full((len(tokens), 1), self.num_tokens)
