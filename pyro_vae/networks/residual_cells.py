"""Residual cells of NVAE (Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, section 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.shapes import InShape, input_shapes

from .images import image_shape
from .network import Network

__all__ = ["DecoderCell", "EncoderCell", "SqueezeExcitation"]


class EncoderCell(Network):
    """skip(x) + f(x) / 10, where f is normalization, Swish and a 3x3 convolution, twice.

    Squeeze and excitation come last in f. The skip is x itself where the shapes are the same. Where
    out_shape is half as high and wide, the first convolution has stride 2, and the skip is two 1x1
    convolutions of stride 2, of which the second reads the pixels one further down and right
    (factorized reduction, Zoph et al., 2018).

    In training, batch normalization takes its statistics over all leading dimensions at once, as in
    `ConvEncoder`.

    Args:
        in_shape: (C, H, W).
        out_shape: (C, H, W), with other channels too, or (channels, H / 2, W / 2) for even H, W.
        momentum: The share of each batch in the running statistics of the normalizations.

    Raises:
        ValueError: If out_shape is neither.

    Reference:
        Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, figure 3b

    Example:
        >>> EncoderCell((16, 8, 8), (32, 4, 4))(torch.zeros(5, 7, 16, 8, 8)).shape
        torch.Size([5, 7, 32, 4, 4])
    """

    def __init__(
        self, in_shape: InShape, out_shape: Sequence[int], *, momentum: float = 0.05
    ) -> None:
        (fan_in, *size), (fan_out, *end) = _images("EncoderCell", in_shape, out_shape)
        halves = size == [2 * side for side in end]
        if not halves and size != end:
            raise _other_size("EncoderCell", in_shape, out_shape, "half as high and wide")
        stride = 2 if halves else 1
        branch = nn.Sequential(
            *_norm_swish(fan_in, momentum),
            nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False),
            *_norm_swish(fan_out, momentum),
            nn.Conv2d(fan_out, fan_out, 3, padding=1),
            SqueezeExcitation((fan_out, *end), (fan_out, *end)),
        )
        skip: nn.Module = nn.Identity()
        if halves:
            skip = _FactorizedReduction(fan_in, fan_out)
        elif fan_in != fan_out:
            skip = nn.Conv2d(fan_in, fan_out, 1)
        super().__init__(in_shape, out_shape, _Residual(skip, branch))


class DecoderCell(Network):
    """skip(x) + f(x) / 10, where f widens the channels for a large depthwise convolution.

    f is normalization, a 1x1 convolution to `expansion` times the channels, normalization, Swish,
    the depthwise convolution, normalization, Swish, a 1x1 convolution, normalization, and squeeze
    and excitation. The depthwise convolution sees far for few weights. The skip is x itself where
    the shapes are the same. Where out_shape is twice as high and wide, each pixel is copied to four
    before the depthwise convolution, and the skip is a 1x1 convolution and such copies.

    Args:
        in_shape: (C, H, W).
        out_shape: (C, H, W), with other channels too, or (channels, 2 H, 2 W).
        expansion: How many times as many channels the depthwise convolution has.
        kernel_size: Its height and width, an odd number. On a CPU the gradient of 5x5 weights takes
            ten times as long as that of 3x3.
        momentum: The share of each batch in the running statistics of the normalizations.

    Raises:
        ValueError: If out_shape is neither.

    Reference:
        Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, figure 3a

    Example:
        >>> DecoderCell((32, 4, 4), (16, 8, 8))(torch.zeros(5, 7, 32, 4, 4)).shape
        torch.Size([5, 7, 16, 8, 8])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        expansion: int = 6,
        kernel_size: int = 5,
        momentum: float = 0.05,
    ) -> None:
        check_sizes(expansion=expansion, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"the kernel_size of a DecoderCell must be odd, so that images keep their size, "
                f"but is {kernel_size}"
            )
        (fan_in, *size), (fan_out, *end) = _images("DecoderCell", in_shape, out_shape)
        doubles = end == [2 * side for side in size]
        if not doubles and size != end:
            raise _other_size("DecoderCell", in_shape, out_shape, "twice as high and wide")
        # What stands before the depthwise convolution acts on each pixel alone, so that copying
        # after it is the same as before, at a quarter of the cost.
        copies = [nn.Upsample(scale_factor=2)] if doubles else []
        wide = expansion * fan_in
        branch = nn.Sequential(
            nn.BatchNorm2d(fan_in, momentum=momentum),
            nn.Conv2d(fan_in, wide, 1, bias=False),
            *_norm_swish(wide, momentum),
            *copies,
            nn.Conv2d(wide, wide, kernel_size, padding=kernel_size // 2, groups=wide, bias=False),
            *_norm_swish(wide, momentum),
            nn.Conv2d(wide, fan_out, 1, bias=False),
            nn.BatchNorm2d(fan_out, momentum=momentum),
            SqueezeExcitation((fan_out, *end), (fan_out, *end)),
        )
        skip: nn.Module = nn.Identity()
        if doubles or fan_in != fan_out:
            skip = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1), *copies)
        super().__init__(in_shape, out_shape, _Residual(skip, branch))


class SqueezeExcitation(Network):
    """Each channel times a number in (0, 1), which a small MLP makes of the means of all channels.

    Args:
        in_shape: (C, H, W).
        out_shape: The same.
        hidden: The units of the MLP's hidden layer; by default C / 16, and at least 4.

    Reference:
        Hu et al., 2018, https://arxiv.org/abs/1709.01507
    """

    def __init__(
        self, in_shape: InShape, out_shape: Sequence[int], *, hidden: int | None = None
    ) -> None:
        image, end = _images("SqueezeExcitation", in_shape, out_shape)
        if image != end:
            raise ValueError(
                f"a SqueezeExcitation scales channels, but its in_shape is {tuple(image)} and its "
                f"out_shape {tuple(end)}; give both the same shape"
            )
        units = max(image[0] // 16, 4) if hidden is None else hidden
        check_sizes(hidden=units)
        super().__init__(in_shape, out_shape, _Excitation(image[0], units))


class _Excitation(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.scales = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scales(x.mean((-2, -1)))[..., None, None]


class _Residual(nn.Module):
    """skip(x) + f(x) / 10: a tenth, so that a deep stack starts near the skips (section 3.2)."""

    def __init__(self, skip: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.skip, self.branch = skip, branch

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":  # there depthwise convolutions take 25 ms in place of 110 so
            x = x.contiguous(memory_format=torch.channels_last)
        return self.skip(x) + 0.1 * self.branch(x)


class _FactorizedReduction(nn.Module):
    """Half as high and wide, by two 1x1 convolutions of stride 2 on pixels of their own."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.here = nn.Conv2d(fan_in, fan_out - fan_out // 2, 1, stride=2)
        self.beside = nn.Conv2d(fan_in, fan_out // 2, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.here(x), self.beside(x[..., 1:, 1:])], -3)


def _norm_swish(channels: int, momentum: float) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, momentum=momentum), nn.SiLU()]


def _images(owner: str, in_shape: InShape, out_shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """[C, H, W] of the one input and of the output."""
    shapes = input_shapes(in_shape)
    if len(shapes) != 1:
        raise ValueError(f"the input of a {owner} is one image, but in_shape is {in_shape}")
    start, end = shapes[0], tuple(out_shape)
    for shape in (start, end):
        image_shape(owner, shape)
        if len(shape) != 3:
            raise ValueError(f"a {owner} is of images (C, H, W), but got {shape}")
    return list(start), list(end)


def _other_size(owner: str, in_shape: InShape, out_shape: Sequence[int], way: str) -> ValueError:
    return ValueError(
        f"{'an' if owner[0] == 'E' else 'a'} {owner} gives images as large as its own or {way}, "
        f"but in_shape is {tuple(in_shape)} and out_shape {tuple(out_shape)}"
    )
