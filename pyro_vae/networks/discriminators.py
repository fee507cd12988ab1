"""Discriminators: networks that tell data from what a program makes, for adversarial estimators."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils import parametrizations

from .images import halved_sizes, image_shape
from .network import Network

__all__ = ["Discriminator", "PatchDiscriminator"]

_LeakyReLU = partial(nn.LeakyReLU, 0.2)


class Discriminator(Network):
    """One logit for an image, large where it looks like data: strided convolutions, an affine map.

    With `spectral_norm` each layer's largest singular value is kept at 1, so that the logit changes
    by no more than the image does; the singular vectors are buffers that move at each step.

    Batch normalization is left out by default: its statistics tell whole batches of data and of
    images that are made apart, and its running averages would mix both.

    Args:
        x_shape: The shape of one image (..., H, W), usually (C, H, W).
        channels: The channels after each halving of the image.
        activation: What builds the nonlinearity after each convolution.
        spectral_norm: Whether to divide the layers' weights by their largest singular values.
        batch_norm: Whether to normalize after each convolution but the first.

    Attributes:
        feature_layer: The layer whose features `VAEGAN` compares by default, the last but one of
            `layers.block_1`, `layers.block_2` and so on.

    Reference:
        Radford et al., 2016, https://arxiv.org/abs/1511.06434;
        Miyato et al., 2018, https://arxiv.org/abs/1802.05957, on spectral normalization

    Example:
        >>> Discriminator((1, 28, 28))(torch.zeros(5, 8, 1, 28, 28)).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128),
        activation: Callable[[], nn.Module] = _LeakyReLU,
        spectral_norm: bool = True,
        batch_norm: bool = False,
    ) -> None:
        image = image_shape("Discriminator", x_shape)
        height, width = halved_sizes("Discriminator", x_shape, channels)[-1]
        normed = parametrizations.spectral_norm if spectral_norm else _as_it_is
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (fan_in, fan_out) in enumerate(pairwise([image[0], *channels]), 1):
            norm = [nn.BatchNorm2d(fan_out)] if batch_norm and number > 1 else []
            convolution = nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=not norm)
            layers[f"block_{number}"] = nn.Sequential(normed(convolution), *norm, activation())
        layers["flat"] = nn.Flatten()
        layers["logit"] = normed(nn.Linear(channels[-1] * height * width, 1))
        super().__init__(x_shape, (), nn.Sequential(layers), seen_as=image)
        self.feature_layer = f"layers.block_{max(len(channels) - 1, 1)}"


class PatchDiscriminator(Network):
    """PatchGAN: a logit for each of many overlapping patches of an image, convolutions alone.

    It judges texture, and leaves to the rest of the loss what an image shows as a whole. At 3
    layers a logit sees 70 x 70 pixels. On spectral and batch normalization see `Discriminator`.

    Args:
        x_shape: The shape of one image (..., H, W), usually (C, H, W).
        channels: The channels after the first layer; each further one doubles them, up to 8 times.
        layers: The number of halvings; two convolutions of stride 1 follow.
        spectral_norm: Whether to divide the layers' weights by their largest singular values.
        batch_norm: Whether to normalize after each convolution but the first and the last.

    Attributes:
        feature_layer: The layer whose features `VAEGAN` compares by default, the last but one of
            `layers.block_1`, `layers.block_2` and so on.

    Reference:
        Isola et al., 2017, https://arxiv.org/abs/1611.07004, appendix 6.1.2

    Example:
        >>> PatchDiscriminator((3, 64, 64))(torch.zeros(5, 3, 64, 64)).shape
        torch.Size([5, 6, 6])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        channels: int = 64,
        layers: int = 3,
        spectral_norm: bool = True,
        batch_norm: bool = False,
    ) -> None:
        image = image_shape("PatchDiscriminator", x_shape)
        if channels < 1 or layers < 1:
            raise ValueError(
                "a PatchDiscriminator needs at least one channel and one layer, but got channels "
                f"{channels} and layers {layers}"
            )
        strides = [2] * layers + [1, 1]
        sizes = _sizes(image[1:], strides)
        normed = parametrizations.spectral_norm if spectral_norm else _as_it_is
        fans = [image[0], *(channels * min(2**n, 8) for n in range(layers + 1))]
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (fan_in, fan_out) in enumerate(pairwise(fans), 1):
            norm = [nn.BatchNorm2d(fan_out)] if batch_norm and number > 1 else []
            stride = strides[number - 1]
            convolution = nn.Conv2d(fan_in, fan_out, 4, stride, padding=1, bias=not norm)
            blocks[f"block_{number}"] = nn.Sequential(normed(convolution), *norm, _LeakyReLU())
        blocks["logit"] = normed(nn.Conv2d(fans[-1], 1, 4, 1, padding=1))
        super().__init__(x_shape, sizes, nn.Sequential(blocks), seen_as=image)
        self.feature_layer = f"layers.block_{layers}"


def _sizes(size: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Height and width of the logits of images of this size, for kernels of 4 and padding of 1."""
    height, width = size
    for stride in strides:
        height, width = (height - 2) // stride + 1, (width - 2) // stride + 1
    if min(height, width) < 1:
        layers = len(strides) - 2
        raise ValueError(
            f"a PatchDiscriminator of {layers} layers needs images of at least "
            f"{2**layers * 3} pixels a side, but got {size[0]} x {size[1]}; give fewer layers, or "
            "take a Discriminator"
        )
    return height, width


def _as_it_is(layer: Any) -> Any:
    return layer
