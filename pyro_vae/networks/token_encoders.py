"""Encoders of sequences of tokens, which read no further than each sequence's own end."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vae.checks import check_sizes

from .attention import AttentionBlock, check_attention
from .recurrent_cell import recurrent_cell

__all__ = ["ConvTokensEncoder", "RecurrentEncoder", "TransformerEncoder"]


class _TokensEncoder(nn.Module):
    """What the encoders share: an embedding, what reads it, and an affine map to out_shape.

    A subclass has `read`.

    Args:
        in_shape: (T,), of token numbers, with -1 behind the end.
        out_shape: The shape of one output.
        num_tokens: The number of tokens.
        embedding_dim: The size of a token's embedding.
        features: The size of what `read` returns.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        num_tokens: int,
        embedding_dim: int,
        features: int,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if len(self.in_shape) != 1:
            raise ValueError(
                f"in_shape is {self.in_shape}, but a {type(self).__name__} reads sequences (T,) of "
                "token numbers"
            )
        check_sizes(num_tokens=num_tokens, embedding_dim=embedding_dim, features=features)
        self.embedding = nn.Embedding(num_tokens, embedding_dim)
        self.summary = nn.Linear(features, math.prod(self.out_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Maps token numbers (..., t), t up to T, to (..., *out_shape)."""
        if not x.dim() or not 0 < x.shape[-1] <= self.in_shape[0]:
            raise ValueError(
                f"this {type(self).__name__} takes (..., t) with t up to {self.in_shape[0]}, but "
                f"got {tuple(x.shape)}"
            )
        rows = x.long().reshape(-1, x.shape[-1])
        lasts = rows >= 0
        h = self.read(self.embedding(rows.clamp(min=0)), lasts)
        return self.summary(h).reshape(*x.shape[:-1], *self.out_shape)

    def read(self, words: Tensor, lasts: Tensor) -> Tensor:
        """Sums up embeddings (R, t, embedding_dim), of which `lasts` (R, t) are there: (R, F)."""
        raise NotImplementedError


class RecurrentEncoder(_TokensEncoder):
    """The last states of an LSTM or a GRU that reads a sequence, and of one that reads it backward.

    Args:
        in_shape: (T,), of token numbers, with -1 behind the end; it takes fewer places, too.
        out_shape: The shape of one output, such as a posterior's `param_shape`.
        num_tokens: The number of tokens; a program gives that of its likelihood.
        cell: "lstm", which is one fused operation on a CPU, or "gru".
        embedding_dim: The size of a token's embedding.
        units: Of the cell in each direction.
        layers: Of each cell, one above the other.
        bidirectional: Whether another cell reads from the end.

    Reference:
        Bowman et al., 2016, https://arxiv.org/abs/1511.06349

    Example:
        >>> net = RecurrentEncoder((5,), (2, 3), num_tokens=4, units=8)
        >>> net(torch.tensor([[1, 2, 0, -1, -1], [3, 3, 3, 3, 0]])).shape
        torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        num_tokens: int,
        cell: str = "lstm",
        embedding_dim: int = 128,
        units: int = 256,
        layers: int = 1,
        bidirectional: bool = True,
    ) -> None:
        ways = 2 if bidirectional else 1
        super().__init__(in_shape, out_shape, num_tokens, embedding_dim, ways * units)
        # Two cells, not a bidirectional one, which would begin with what stands behind the end.
        self.cells = nn.ModuleList(
            recurrent_cell(cell, embedding_dim, units, layers) for _ in range(ways)
        )

    def read(self, words: Tensor, lasts: Tensor) -> Tensor:
        """The states after the last token, (R, ways * units)."""
        last = (lasts.sum(1) - 1).clamp(min=0)  # (R,)
        forward = self.cells[0](words)[0]
        found = [forward.gather(1, _each(last[:, None], forward))[:, 0]]
        if len(self.cells) > 1:
            places = torch.arange(words.shape[1], device=words.device)
            backward = (last[:, None] - places).clamp(min=0)
            states = self.cells[1](words.gather(1, _each(backward, words)))[0]
            found.append(states.gather(1, _each(last[:, None], states))[:, 0])
        return torch.cat(found, -1)


class TransformerEncoder(_TokensEncoder):
    """The mean over a sequence's tokens of what attention among them makes.

    Args:
        in_shape: (T,), of token numbers, with -1 behind the end; it takes fewer places, too.
        out_shape: The shape of one output, such as a posterior's `param_shape`.
        num_tokens: The number of tokens; a program gives that of its likelihood.
        width: Of the embeddings.
        layers: Blocks of attention and a hidden layer of 4 width units, each normalized first.
        heads: Of the attention; width is a multiple of them.
        dropout: The share of each block's outputs that a training step leaves out.

    Reference:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        num_tokens: int,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        check_attention(width=width, layers=layers, heads=heads, dropout=dropout)
        super().__init__(in_shape, out_shape, num_tokens, width, width)
        self.place = nn.Parameter(0.02 * torch.randn(*self.in_shape, width))
        self.blocks = nn.ModuleList(AttentionBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def read(self, words: Tensor, lasts: Tensor) -> Tensor:
        """The mean over the tokens that are there, (R, width)."""
        h = words + self.place[: words.shape[1]]
        # A sequence of no tokens at all attends to its first place, as to something it must.
        sees = lasts | (torch.arange(h.shape[1], device=h.device) == 0)
        for block in self.blocks:
            h, _ = block(h, sees=sees)
        there = lasts.unsqueeze(-1).to(h.dtype)
        return (self.norm(h) * there).sum(1) / there.sum(1).clamp(min=1)


class ConvTokensEncoder(_TokensEncoder):
    """The largest value that each channel of convolutions over a sequence takes.

    Args:
        in_shape: (T,), of token numbers, with -1 behind the end; it takes fewer places, too.
        out_shape: The shape of one output, such as a posterior's `param_shape`.
        num_tokens: The number of tokens; a program gives that of its likelihood.
        embedding_dim: The size of a token's embedding.
        channels: Of each convolution.
        kernel_size: The tokens that each sees of the layer before, an odd number.

    Reference:
        Kim, 2014, https://arxiv.org/abs/1408.5882
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        num_tokens: int,
        embedding_dim: int = 128,
        channels: Sequence[int] = (256, 256),
        kernel_size: int = 5,
    ) -> None:
        if not channels or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                "a ConvTokensEncoder needs channels and an odd kernel_size, but got "
                f"{tuple(channels)} and {kernel_size}"
            )
        super().__init__(in_shape, out_shape, num_tokens, embedding_dim, channels[-1])
        sizes = zip((embedding_dim, *channels), channels, strict=False)
        self.layers = nn.ModuleList(
            nn.Conv1d(fan_in, fan_out, kernel_size, padding=kernel_size // 2)
            for fan_in, fan_out in sizes
        )

    def read(self, words: Tensor, lasts: Tensor) -> Tensor:
        """The maximum over the tokens that are there, (R, channels)."""
        there = lasts.unsqueeze(1).to(words.dtype)
        h = words.transpose(1, 2)
        for layer in self.layers:
            h = F.relu(layer(h * there))  # what stands behind the end is 0, as what does not exist
        return (h * there).amax(-1)


def _each(places: Tensor, values: Tensor) -> Tensor:
    """Places (R, n) as `gather` takes them along the second dimension of values (R, t, F)."""
    return places.unsqueeze(-1).expand(-1, -1, values.shape[-1])
