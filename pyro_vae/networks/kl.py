"""Encoder and decoder of Stable Diffusion's autoencoder, as the package diffusers has them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.checks import check_positive, check_sizes
from pyro_vae.extras import import_diffusers
from pyro_vae.shapes import InShape

from .images import image_shape, joined_image
from .network import Network

__all__ = ["KLDecoder", "KLEncoder"]

Levels = tuple[float, float]


class KLEncoder(Network):
    """From images to location and log scale of maps of latents, for `DiagonalNormal`.

    Residual blocks at each size, a convolution of stride 2 to the next one, and attention between
    all places of the smallest. What these layers give as logarithm of the variance is cut off at
    -30 and 20.

    Args:
        in_shape: The shape of one image (..., H, W), usually (C, H, W); or a tuple of shapes, as
            for `ConvEncoder`.
        out_shape: (2, latent channels, H / f, W / f) where f = 2^(len(channels) - 1) divides H, W.
        channels: Those at each size of the image, the first of which is its own.
        blocks: The residual blocks at each size.
        groups: The groups of channels that are normalized together; by default as many, up to 32,
            as divide all numbers of channels and leave at least 4 channels to each.
        quant_conv: Whether a 1x1 convolution comes last, as in Stable Diffusion 1 and 2.
        levels: Which values of an image are black and white; to the layers they are -1 and 1.
        scaling_factor: The s and
        shift_factor: the m in z = s (z' - m), where z' is the latent of the layers.

    Raises:
        ValueError: If f does not divide the image, the groups do not divide the channels, or
            out_shape is another one; or if the extra diffusers is not installed.

    Reference:
        Rombach et al., 2022, https://arxiv.org/abs/2112.10752

    Example:
        >>> encoder = KLEncoder((3, 32, 32), (2, 4, 8, 8), channels=(32, 64, 64))
        >>> encoder(torch.zeros(5, 7, 3, 32, 32)).shape
        torch.Size([5, 7, 2, 4, 8, 8])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 64),
        blocks: int = 1,
        groups: int | None = None,
        quant_conv: bool = True,
        levels: Levels = (0.0, 1.0),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        image = joined_image("KLEncoder", in_shape)
        options = _options("KLEncoder", channels, blocks, groups)
        size, shape = _smallest("KLEncoder", image, channels), tuple(out_shape)
        if len(shape) < 4 or shape[0] != 2 or shape[-2:] != size:
            raise ValueError(
                f"a KLEncoder with channels {tuple(channels)} makes location and log scale of "
                f"latents (channels, {size[0]}, {size[1]}) of images {image}, but its out_shape is "
                f"{shape}; make it (2, channels, {size[0]}, {size[1]})"
            )
        numbers = 2 * math.prod(shape[1:-2])
        down = ("DownEncoderBlock2D",) * len(channels)
        layers = _Moments(
            _vae().Encoder(image[0], numbers // 2, down, **options),
            nn.Conv2d(numbers, numbers, 1) if quant_conv else None,
            _Units(levels, scaling_factor, shift_factor),
        )
        super().__init__(in_shape, out_shape, layers, seen_as=image)


class KLDecoder(Network):
    """`KLEncoder` mirrored: from maps of latents to images, with one residual block more a size.

    Args:
        in_shape: The shape of one latent (channels, H / f, W / f), or a tuple of shapes, as for
            `ConvDecoder`.
        out_shape: The shape of one output (..., H, W), such as (C, H, W).
        channels: Those at each size of the image, in the order of the encoder's.
        blocks: The residual blocks at each size, in the encoder.
        groups: As for `KLEncoder`.
        post_quant_conv: Whether a 1x1 convolution comes first, as in Stable Diffusion 1 and 2.
        levels: The values of an image that are -1 and 1 to the layers, black and white.
        scaling_factor: The s and
        shift_factor: the m in z' = z / s + m, where z' is the latent of the layers.

    Raises:
        ValueError: As of `KLEncoder`; or if the latents are of another height and width.

    Reference:
        Rombach et al., 2022, https://arxiv.org/abs/2112.10752

    Example:
        >>> KLDecoder((4, 8, 8), (3, 32, 32))(torch.zeros(5, 7, 4, 8, 8)).shape
        torch.Size([5, 7, 3, 32, 32])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 64),
        blocks: int = 1,
        groups: int | None = None,
        post_quant_conv: bool = True,
        levels: Levels = (0.0, 1.0),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        latent, image = joined_image("KLDecoder", in_shape), image_shape("KLDecoder", out_shape)
        options = _options("KLDecoder", channels, blocks, groups)
        size = _smallest("KLDecoder", image, channels)
        if latent[1:] != size:
            raise ValueError(
                f"a KLDecoder with channels {tuple(channels)} makes images {image} of latents "
                f"(channels, {size[0]}, {size[1]}), but its in_shape is {latent}; give both the "
                "same size, or other channels, one for each halving and one for the image"
            )
        up = ("UpDecoderBlock2D",) * len(channels)
        layers = _Images(
            _vae().Decoder(latent[0], image[0], up, **options),
            nn.Conv2d(latent[0], latent[0], 1) if post_quant_conv else None,
            _Units(levels, scaling_factor, shift_factor),
        )
        super().__init__(in_shape, out_shape, layers, seen_as=latent)


class _Units:
    """What images and latents are outside of the layers, and what inside."""

    def __init__(self, levels: Levels, scaling_factor: float, shift_factor: float) -> None:
        black, white = levels
        if not (white > black and math.isfinite(white - black)):
            raise ValueError(
                f"levels are the values of black and white, such as (0, 1), but are {levels}"
            )
        check_positive(scaling_factor=scaling_factor)
        self.middle, self.half = (white + black) / 2, (white - black) / 2
        self.s, self.m = scaling_factor, shift_factor


class _Moments(nn.Module):
    """Images (N, C, H, W) to location and log scale, (N, 2 channels, h, w)."""

    def __init__(self, encoder: nn.Module, quant_conv: nn.Module | None, units: _Units) -> None:
        super().__init__()
        self.encoder, self.quant_conv, self.units = encoder, quant_conv, units

    def forward(self, x: Tensor) -> Tensor:
        h = _run(self.encoder, (x - self.units.middle) / self.units.half)
        h = h if self.quant_conv is None else self.quant_conv(h)
        mean, log_variance = h.chunk(2, 1)
        log_scale = log_variance.clamp(-30.0, 20.0) / 2 + math.log(self.units.s)
        return torch.cat([self.units.s * (mean - self.units.m), log_scale], 1)


class _Images(nn.Module):
    """Latents (N, channels, h, w) to images (N, C, H, W)."""

    def __init__(self, decoder: nn.Module, quant_conv: nn.Module | None, units: _Units) -> None:
        super().__init__()
        self.decoder, self.post_quant_conv, self.units = decoder, quant_conv, units

    def forward(self, z: Tensor) -> Tensor:
        z = z / self.units.s + self.units.m
        z = z if self.post_quant_conv is None else self.post_quant_conv(z)
        return self.units.middle + self.units.half * _run(self.decoder, z)


def _run(layers: nn.Module, x: Tensor) -> Tensor:
    """What layers give, for no inputs (0, ...), too, on which the attention of diffusers fails."""
    return layers(x) if len(x) else layers(x.new_zeros(1, *x.shape[1:]))[:0]


def _vae() -> Any:
    """The module of diffusers that has the layers of its autoencoders."""
    import_diffusers()
    from diffusers.models.autoencoders import vae

    return vae


def _options(
    owner: str, channels: Sequence[int], blocks: int, groups: int | None
) -> dict[str, Any]:
    """The arguments that encoder and decoder of diffusers share."""
    if not channels or min(channels) < 1:
        raise ValueError(f"a {owner} needs positive numbers of channels, but got {channels}")
    check_sizes(blocks=blocks)
    common = math.gcd(*channels)
    if groups is None:
        # A group of one channel would always have the mean 0 and tell nothing of brightness.
        groups = max(n for n in range(1, 33) if common % n == 0 and n <= max(1, common // 4))
    if groups < 1 or common % groups:
        raise ValueError(
            f"the {groups} groups of a {owner} must divide all its channels, but these are "
            f"{tuple(channels)}; leave groups out, or take a divisor of {common}"
        )
    return {
        "block_out_channels": tuple(channels),
        "layers_per_block": blocks,
        "norm_num_groups": groups,
    }


def _smallest(owner: str, image: tuple[int, int, int], channels: Sequence[int]) -> tuple[int, int]:
    """Height and width of the latents of an image."""
    factor = 2 ** (len(channels) - 1)
    if image[1] % factor or image[2] % factor:
        raise ValueError(
            f"a {owner} with channels {tuple(channels)} halves images {len(channels) - 1} times, "
            f"but {factor} does not divide the height and width of {image}; give fewer channels, "
            "or images of another size"
        )
    return image[1] // factor, image[2] // factor
