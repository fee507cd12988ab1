"""Sequences of tokens by attention."""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.networks import AttentionBlock, Past, check_attention

from .autoregressive_tokens import AutoregressiveTokens

__all__ = ["TransformerTokens"]


class TransformerTokens(AutoregressiveTokens):
    """Each token from those before it, by a causal transformer that sees h.

    x is the numbers of tokens, (T,), closed by the end mark, with -1 behind it. A sequence of fewer
    places, such as those of a batch that is cut to its longest one, has the same density.

    Args:
        x_shape: (T,), T the number of places, that of the end mark included.
        num_tokens: The number of tokens, the end mark included.
        end: The token that ends a sequence; None if all sequences have T tokens.
        context: How the tokens see h: "state", added to what stands before the first token;
            "inputs", added to the embedding of each; "memory", a key and a value of each layer,
            which all attend to; or several. With () they do not, which leaves a language model.
        context_dim: The size of h.
        width: Of the embeddings.
        layers: Blocks of attention and a hidden layer of 4 width units, each normalized first.
        heads: Of the attention; width is a multiple of them.
        dropout: The share of each block's outputs that a training step leaves out.
        word_dropout: The share of the preceding tokens that training hides, as for
            `RecurrentTokens`.

    Raises:
        ValueError: If x_shape is no (T,), end no token, or a number out of its range.

    Reference:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; h as a memory or beside the
        embeddings: Li et al., 2020, https://arxiv.org/abs/2004.04092

    Example:
        >>> p = TransformerTokens((5,), num_tokens=3, width=8, heads=2)(torch.zeros(2, 32))
        >>> p.log_prob(torch.tensor([[1, 2, 0, -1, -1], [2, 2, 1, 1, 0]])).shape
        torch.Size([2])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        num_tokens: int,
        end: int | None = 0,
        context: Collection[str] = ("state", "memory"),
        context_dim: int = 32,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            x_shape,
            num_tokens=num_tokens,
            end=end,
            context=context,
            contexts=("state", "inputs", "memory"),
            context_dim=context_dim,
            word_dropout=word_dropout,
        )
        check_attention(width=width, layers=layers, heads=heads, dropout=dropout)
        self.embedding = nn.Embedding(self.num_marks, width)
        self.place = nn.Parameter(0.02 * torch.randn(*self.x_shape, width))
        self.blocks = nn.ModuleList(AttentionBlock(width, heads, dropout) for _ in range(layers))
        self.norm, self.read = nn.LayerNorm(width), nn.Linear(width, num_tokens)
        sizes = {"state": width, "inputs": width, "memory": 2 * layers * width}
        self.seen = nn.ModuleDict({w: nn.Linear(context_dim, sizes[w]) for w in self.context})

    def logits(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Of each token given h (R, C) and those before it: integers (R, t) to (R, t, V)."""
        words = self.embedding(self.before(tokens)) + self.place[: tokens.shape[1]]
        if "inputs" in self.context:
            words = words + self.seen["inputs"](h).unsqueeze(1)
        if "state" in self.context:
            words = torch.cat([words[:, :1] + self.seen["state"](h).unsqueeze(1), words[:, 1:]], 1)
        for block, memory in zip(self.blocks, self._memory(h), strict=True):
            words, _ = block(words, memory)
        return self.read(self.norm(words))

    def conditionals(self, h: Tensor, tokens: Tensor) -> Iterator[Tensor]:
        """Logits (R, V) of each place in turn; see `TokenModel`."""
        before, pasts = self.start(tokens), self._memory(h)
        for t in range(tokens.shape[1]):
            words = self.embedding(before) + self.place[t]
            for way in self.context:
                if way == "inputs" or (way == "state" and t == 0):
                    words = words + self.seen[way](h).unsqueeze(1)
            for layer, block in enumerate(self.blocks):
                words, pasts[layer] = block(words, pasts[layer])
            yield self.read(self.norm(words))[:, 0]
            before = tokens[:, t : t + 1].clamp(min=0)

    def _memory(self, h: Tensor) -> list[Past | None]:
        """A key and a value of h for each layer, (R, heads, 1, width / heads)."""
        if "memory" not in self.context:
            return [None] * len(self.blocks)
        heads = self.blocks[0].heads
        each = self.seen["memory"](h).unflatten(-1, (len(self.blocks), 2, heads, 1, -1))
        return [(each[:, i, 0], each[:, i, 1]) for i in range(len(self.blocks))]
