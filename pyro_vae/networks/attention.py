"""The block of a transformer (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vae.checks import check_sizes

__all__ = ["AttentionBlock", "Past", "check_attention"]

Past = tuple[Tensor, Tensor]  # keys and values (N, heads, positions, width / heads)


class AttentionBlock(nn.Module):
    """Attention, then a hidden layer of 4 width units, each normalized first and then added.

    Args:
        width: Of the embeddings.
        heads: Of the attention.
        dropout: The share of each output that a training step leaves out.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.ask = nn.Linear(width, 3 * width)
        self.answer = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.hidden = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(
        self, h: Tensor, past: Past | None = None, *, sees: Tensor | None = None
    ) -> tuple[Tensor, Past]:
        """Maps (N, positions, width) to the same shape.

        Args:
            h: Positions that follow those of `past`.
            past: Keys and values that every position sees, besides those of h up to its own.
            sees: Which positions of h are seen by all, (N, positions), instead of those up to
                each one's own.

        Returns:
            The outputs, and keys and values with those of h.
        """
        asked = self.ask(self.norms[0](h)).unflatten(-1, (3, self.heads, -1))
        query, key, value = asked.movedim(1, 3).unbind(1)  # (N, heads, positions, width / heads)
        mask = None if sees is None else sees[:, None, None, :]
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
            if h.shape[1] > 1:
                before = past[0].shape[2]
                every = h.new_ones(h.shape[1], before + h.shape[1], dtype=torch.bool)
                mask = every.tril(before)
        causal = past is None and sees is None
        attended = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
        h = h + self.answer(attended.transpose(1, 2).flatten(2))
        return h + self.hidden(self.norms[1](h)), (key, value)


def check_attention(*, width: int, layers: int, heads: int, dropout: float) -> None:
    """Refuses sizes of a transformer that are out of range or do not fit each other."""
    check_sizes(width=width, layers=layers, heads=heads)
    if width % heads:
        raise ValueError(f"heads must divide width, but {heads} do not divide {width}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be from 0 to below 1, but is {dropout}")
