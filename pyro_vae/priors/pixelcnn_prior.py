"""A prior of codes by convolutions."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.networks import PixelCNN

from .codes_prior import AutoregressiveCodes

__all__ = ["PixelCNNPrior"]


class PixelCNNPrior(AutoregressiveCodes):
    """p(z), or p(z | y): a gated PixelCNN over the numbers of codes, row by row.

    Each layer widens the view by kernel_size // 2 positions; to see all codes before it, a
    position needs layers * (kernel_size // 2) >= max(H, W) - 1. A draw takes a pass for each
    position, over the rows up to it.

    Args:
        channels: Of each stack, and of the codes' embedding.
        layers: The gated layers.
        kernel_size: Height and width of the kernels, odd.
        num_classes: The number of classes y of p(z | y); 0 for p(z).

    Reference:
        van den Oord et al., 2016, https://arxiv.org/abs/1606.05328; on codes: van den Oord et al.,
        2017, https://arxiv.org/abs/1711.00937, section 3.3
    """

    def __init__(
        self, *, channels: int = 64, layers: int = 8, kernel_size: int = 5, num_classes: int = 0
    ) -> None:
        super().__init__(num_classes)
        check_sizes(channels=channels, layers=layers)
        self.channels, self.num_layers, self.kernel_size = channels, layers, kernel_size

    def prepare(self) -> None:
        """Makes the network for `num_codes` on `code_grid`."""
        self.embedding = nn.Embedding(self.num_codes, self.channels)
        codes = (self.channels, *self.code_grid)
        self.network = PixelCNN(
            (codes, (self.num_classes,)) if self.num_classes else codes,
            (self.num_codes, *self.code_grid),
            channels=self.channels,
            layers=self.num_layers,
            kernel_size=self.kernel_size,
        )

    def logits(self, indices: Tensor, y: Tensor | None = None) -> Tensor:
        """Of each code given those before it: (N, rows, W) to (N, rows, W, K)."""
        # of fewer rows than code_grid has, too, since convolutions see none below
        h, context = self.embedding(indices).movedim(-1, -3), None
        if y is not None:
            classes = torch.arange(self.num_classes, device=y.device)
            one_hot = (y.unsqueeze(-1) == classes).to(h.dtype)
            context = one_hot[..., None, None].expand(-1, -1, *h.shape[-2:])
        return self.network.layers(h, context).movedim(-3, -1)

    def conditionals(self, indices: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        """Logits (N, K) of each position in turn; see `AutoregressiveCodes`."""
        rows, width = self.code_grid
        for i in range(rows):
            for j in range(width):
                yield self.logits(indices[:, : i + 1], y)[:, i, j]
