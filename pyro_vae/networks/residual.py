"""Residual networks for images (He et al., 2016, https://arxiv.org/abs/1603.05027)."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyro_vae.shapes import InShape

from .images import affine, halved_sizes, image_shape, joined_image, seen_in
from .network import Network, dropped, flat_size

__all__ = ["ResidualDecoder", "ResidualEncoder", "group_norm"]

Activation = Callable[[], nn.Module]


class ResidualEncoder(Network):
    """Convolutions of stride 2, each followed by residual blocks; then one affine map.

    Group normalization looks at one image at a time, so unlike `ConvEncoder` an output depends on
    its own input alone, in training too. The affine map is that of `ConvEncoder`.

    Args:
        in_shape: The shape of one image (..., H, W), or a tuple of shapes, as for `ConvEncoder`.
        out_shape: The shape of one output.
        channels: The channels after each halving of the image.
        blocks: The residual blocks after each halving.
        activation: What builds the nonlinearities.
        dropout: The share of the affine map's inputs that each training step leaves out.

    Reference:
        He et al., 2016, https://arxiv.org/abs/1603.05027; Wu and He, 2018,
        https://arxiv.org/abs/1803.08494
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 1,
        activation: Activation = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        _check_blocks("ResidualEncoder", blocks)
        image = joined_image("ResidualEncoder", in_shape)
        flat_size("ResidualEncoder", out_shape)
        size = halved_sizes("ResidualEncoder", image, channels)[-1]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([image[0], *channels]):
            layers.append(nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1))
            layers += [_Block(fan_out, activation) for _ in range(blocks)]
        layers += [group_norm(channels[-1]), activation()]
        layers += affine((channels[-1], *size), out_shape, dropped("a ResidualEncoder", dropout))
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=image)


class ResidualDecoder(Network):
    """`ResidualEncoder` mirrored: residual blocks, each followed by nearest upsampling.

    A convolution after copying pixels leaves no checkerboard, as transposed ones may (Odena et al.,
    2016, https://doi.org/10.23915/distill.00003).

    Args:
        in_shape: The shape of one input, or a tuple of shapes, as for `ConvDecoder`.
        out_shape: The shape of one output (..., H, W), as for `ConvDecoder`.
        channels: The channels before each doubling of the image, in the order of the encoder's.
        blocks: The residual blocks before each doubling.
        activation: What builds the nonlinearities.

    Reference:
        He et al., 2016, https://arxiv.org/abs/1603.05027
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 1,
        activation: Activation = nn.ReLU,
    ) -> None:
        _check_blocks("ResidualDecoder", blocks)
        out_channels, *_ = image_shape("ResidualDecoder", out_shape)
        *sizes, smallest = halved_sizes("ResidualDecoder", out_shape, channels)
        seen_as = seen_in("ResidualDecoder", in_shape, smallest)
        layers = affine(seen_as, (channels[-1], *smallest))
        fans = pairwise([*reversed(channels), channels[0]])
        for (fan_in, fan_out), size in zip(fans, reversed(sizes), strict=True):
            layers += [_Block(fan_in, activation) for _ in range(blocks)]
            layers += [nn.Upsample(size), nn.Conv2d(fan_in, fan_out, 3, padding=1)]
        layers += [group_norm(channels[0]), activation()]
        layers.append(nn.Conv2d(channels[0], out_channels, 3, padding=1))
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=seen_as)


class _Block(nn.Module):
    """x + f(x), where f is normalization, activation, convolution, twice."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            convolution = nn.Conv2d(channels, channels, 3, padding=1)
            layers += [group_norm(channels), activation(), convolution]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def group_norm(channels: int) -> nn.GroupNorm:
    """The normalization of a residual network, of the channels of one image in groups."""
    # Up to 8 groups of at least 4 channels: on a 1x1 image a group of one would always be 0.
    return nn.GroupNorm(max(1, math.gcd(channels, 32) // 4), channels)


def _check_blocks(owner: str, blocks: int) -> None:
    if blocks < 1:
        raise ValueError(f"a {owner} needs at least one block a level, but blocks is {blocks}")
