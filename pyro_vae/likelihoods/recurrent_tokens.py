"""Sequences of tokens by a recurrent network."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.networks import recurrent_cell

from .autoregressive_tokens import AutoregressiveTokens

__all__ = ["RecurrentTokens"]


class RecurrentTokens(AutoregressiveTokens):
    """Each token from those before it, by an LSTM or a GRU that h starts and accompanies.

        s_t = cell(s_{t-1}, [embedding(x_{t-1}), h]),   p(x_t | x_<t, h) = softmax(W s_t + b)

    x is the numbers of tokens, (T,), closed by the end mark, with -1 behind it. A sequence of fewer
    places, such as those of a batch that is cut to its longest one, has the same density.

    Args:
        x_shape: (T,), T the number of places, that of the end mark included.
        num_tokens: The number of tokens, the end mark included.
        end: The token that ends a sequence; None if all sequences have T tokens.
        cell: "lstm", which is one fused operation on a CPU, or "gru".
        context: How the tokens see h: "state", as what the cell starts from; "inputs", beside each
            token before; or both, as in He et al., 2019. With () they do not, which leaves a
            language model.
        context_dim: The size of h.
        embedding_dim: The size of a token's embedding.
        units: Of the cell.
        layers: Of the cell, one above the other.
        dropout: The share of the cell's inputs and outputs that a training step leaves out.
        word_dropout: The share of the preceding tokens that training hides, so that h has to tell
            of them (Bowman et al., 2016, section 3.1.2); a mark of their own stands for them.

    Raises:
        ValueError: If x_shape is no (T,), end no token, or a number out of its range.

    Reference:
        Bowman et al., 2016, https://arxiv.org/abs/1511.06349; He et al., 2019,
        https://arxiv.org/abs/1901.05534, appendix B

    Example:
        >>> p = RecurrentTokens((5,), num_tokens=3, units=8)(torch.zeros(2, 32))
        >>> p.log_prob(torch.tensor([[1, 2, 0, -1, -1], [2, 2, 1, 1, 0]])).shape
        torch.Size([2])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        num_tokens: int,
        end: int | None = 0,
        cell: str = "lstm",
        context: Collection[str] = ("state", "inputs"),
        context_dim: int = 32,
        embedding_dim: int = 128,
        units: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            x_shape,
            num_tokens=num_tokens,
            end=end,
            context=context,
            contexts=("state", "inputs"),
            context_dim=context_dim,
            word_dropout=word_dropout,
        )
        check_sizes(embedding_dim=embedding_dim)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, but is {dropout}")
        beside = context_dim if "inputs" in self.context else 0
        self.embedding = nn.Embedding(self.num_marks, embedding_dim)
        self.cell: Any = recurrent_cell(cell, embedding_dim + beside, units, layers)
        self.first = nn.Linear(context_dim, layers * units) if "state" in self.context else None
        self.read = nn.Linear(units, num_tokens)
        self.dropout = nn.Dropout(dropout)

    def logits(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Of each token given h (R, C) and those before it: integers (R, t) to (R, t, V)."""
        states, _ = self.cell(self._inputs(h, self.before(tokens)), self._first_state(h))
        return self.read(self.dropout(states))

    def conditionals(self, h: Tensor, tokens: Tensor) -> Iterator[Tensor]:
        """Logits (R, V) of each place in turn; see `TokenModel`."""
        before, state = self.start(tokens), self._first_state(h)
        for t in range(tokens.shape[1]):
            states, state = self.cell(self._inputs(h, before), state)
            yield self.read(states[:, 0])
            before = tokens[:, t : t + 1].clamp(min=0)

    def _inputs(self, h: Tensor, before: Tensor) -> Tensor:
        """What the cell reads at each place, (R, t, embedding_dim), h beside it if it is to be."""
        words = self.dropout(self.embedding(before))
        if "inputs" not in self.context:
            return words
        return torch.cat([words, h.unsqueeze(1).expand(-1, before.shape[1], -1)], -1)

    def _first_state(self, h: Tensor) -> Any:
        """What the cell starts from: (layers, R, units), for an LSTM twice."""
        shape = (len(h), self.cell.num_layers, self.cell.hidden_size)
        flat = h.new_zeros(len(h), 1).expand(shape[0], shape[1] * shape[2])
        inner = (flat if self.first is None else self.first(h)).reshape(shape).transpose(0, 1)
        outer = inner.tanh().contiguous()
        return (outer, inner.contiguous()) if isinstance(self.cell, nn.LSTM) else outer
