"""From images up to features at several scales, and down again: the frame of NVAE's cells.

Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .network import Network
from .residual_cells import EncoderCell

__all__ = ["BottomUp", "NormalizedConv", "doubling_cells", "image_head"]

Shape = tuple[int, int, int]
Cell = Callable[[Shape, Shape], nn.Module]


class NormalizedConv(nn.Module):
    """A convolution that keeps the size, with normalized weights, as all outside of the cells.

    The weights of each output are length direction / |direction| (Salimans and Kingma, 2016,
    https://arxiv.org/abs/1602.07868). It stands where batch normalization does not.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel_size: int) -> None:
        super().__init__()
        plain = nn.Conv2d(fan_in, fan_out, kernel_size)
        self.direction, self.bias = plain.weight, plain.bias
        self.length = nn.Parameter(self._norm().detach())
        self.padding = kernel_size // 2

    @property
    def weight(self) -> Tensor:
        """The weights, (out, in, kernel_size, kernel_size)."""
        return self.direction * (self.length / self._norm())

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (N, fan_in, H, W) to (N, fan_out, H, W)."""
        return nn.functional.conv2d(x, self.weight, self.bias, padding=self.padding)

    def _norm(self) -> Tensor:
        return self.direction.square().sum((1, 2, 3), keepdim=True).sqrt()


class BottomUp(nn.Module):
    """Features of images at several depths, from the coarsest, s_L, to the finest, s_1.

    Args:
        x_shape: The shape of one image.
        padding: Zeros around it.
        outer: The shapes of the cells from the image's to the finest scale's.
        block_cells: The cells at each of these, the last of which halves.
        scales: The shapes of s_L, ..., s_1.
        cells: The cells before each.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        padding: int,
        outer: Sequence[Shape],
        block_cells: int,
        scales: Sequence[Shape],
        cells: int,
    ) -> None:
        super().__init__()
        image = (math.prod(x_shape[:-2]), *x_shape[-2:])
        stem = nn.Sequential(_Padded(padding), NormalizedConv(image[0], outer[0][0], 3))
        layers: list[nn.Module] = [Network(x_shape, outer[0], stem, seen_as=image)]
        for shape, below in zip(outer, outer[1:], strict=False):
            layers += [EncoderCell(shape, shape) for _ in range(block_cells - 1)]
            layers.append(EncoderCell(shape, below))
        self.stem = nn.Sequential(*layers)
        up, stages = scales[::-1], []
        for below, shape in zip([up[0], *up], up, strict=False):
            halving = [EncoderCell(below, shape)] if below != shape else []
            same = [EncoderCell(shape, shape) for _ in range(cells)]
            stages.append(nn.Sequential(*halving, *same))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps x (..., *x_shape) to s_L, ..., s_1, each (..., C, H, W)."""
        s, evidence = self.stem(x), []
        for stage in self.stages:
            s = stage(s)
            evidence.append(s)
        return evidence[::-1]


def doubling_cells(outer: Sequence[Shape], block_cells: int, cell: Cell) -> list[nn.Module]:
    """From h (..., C, H, W) at the finest scale to h at the size of the image."""
    down, layers = outer[::-1], list[nn.Module]()
    for above, shape in zip(down, down[1:], strict=False):
        layers.append(cell(above, shape))
        layers += [cell(shape, shape) for _ in range(block_cells - 1)]
    return layers


def image_head(shape: Shape, param_shape: Sequence[int], padding: int) -> Network:
    """From h (..., C, H, W) of the padded image to a likelihood's parameters."""
    last = NormalizedConv(shape[0], math.prod(param_shape[:-2]), 3)
    return Network(shape, param_shape, nn.Sequential(nn.ELU(), last, _Cut(padding)))


class _Padded(nn.Module):
    """Images (N, C, H, W) from -1 to 1, with so much of the value -1 around them."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(2 * x - 1, [self.padding] * 4, value=-1.0)


class _Cut(nn.Module):
    """Images (N, C, H, W) without so much of their border."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, h: Tensor) -> Tensor:
        return nn.functional.pad(h, [-self.padding] * 4)
