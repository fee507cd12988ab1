"""A prior of codes by attention."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pyro_vae.networks import AttentionBlock, Past, check_attention

from .codes_prior import AutoregressiveCodes

__all__ = ["TransformerPrior"]


class TransformerPrior(AutoregressiveCodes):
    """p(z), or p(z | y): a causal transformer over the numbers of codes, row by row.

    Each position sees all before it. A draw takes one pass over all positions, since the keys and
    values of those before are kept.

    Args:
        width: Of the embeddings.
        layers: Blocks of attention and a hidden layer of 4 width units, each normalized first.
        heads: Of the attention; width is a multiple of them.
        dropout: The share of each block's outputs that a training step leaves out.
        num_classes: The number of classes y of p(z | y), each a start of its own; 0 for p(z).

    Raises:
        ValueError: If heads do not divide width.

    Reference:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; on codes: Esser et al., 2021,
        https://arxiv.org/abs/2012.09841, section 3.2
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        num_classes: int = 0,
    ) -> None:
        super().__init__(num_classes)
        check_attention(width=width, layers=layers, heads=heads, dropout=dropout)
        self.width, self.num_layers, self.heads, self.dropout = width, layers, heads, dropout

    def prepare(self) -> None:
        """Makes the network for `num_codes` on `code_grid`."""
        rows, width = self.code_grid
        starts = max(self.num_classes, 1)  # behind the codes, one for each class
        self.embedding = nn.Embedding(self.num_codes + starts, self.width)
        self.place = nn.Parameter(0.02 * torch.randn(rows * width, self.width))
        self.blocks = nn.ModuleList(
            AttentionBlock(self.width, self.heads, self.dropout) for _ in range(self.num_layers)
        )
        self.norm = nn.LayerNorm(self.width)
        self.read = nn.Linear(self.width, self.num_codes)

    def logits(self, indices: Tensor, y: Tensor | None = None) -> Tensor:
        """Of each code given those before it: (N, rows, W) to (N, rows, W, K)."""
        before = torch.cat([self._start(indices, y), indices.flatten(1)[:, :-1]], 1)
        h = self.embedding(before) + self.place
        for block in self.blocks:
            h, _ = block(h, None)
        return self.read(self.norm(h)).unflatten(1, self.code_grid)

    def conditionals(self, indices: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        """Logits (N, K) of each position in turn; see `AutoregressiveCodes`."""
        in_order = indices.view(len(indices), -1)
        before = self._start(indices, y)
        pasts: list[Past | None] = [None] * self.num_layers
        for i in range(in_order.shape[1]):
            h = self.embedding(before) + self.place[i]
            for layer, block in enumerate(self.blocks):
                h, pasts[layer] = block(h, pasts[layer])
            yield self.read(self.norm(h))[:, 0]
            before = in_order[:, i : i + 1]

    def _start(self, indices: Tensor, y: Tensor | None) -> Tensor:
        """What stands before the first code, (N, 1)."""
        start = indices.new_full((len(indices), 1), self.num_codes)
        return start if y is None else start + y.unsqueeze(1)
