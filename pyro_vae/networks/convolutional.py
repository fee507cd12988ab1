"""Strided convolutions with batch normalization, the usual encoder and decoder of images."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from pyro_vae.shapes import InShape

from .images import affine, halved_sizes, image_shape, joined_image, seen_in
from .network import Network, dropped, flat_size

__all__ = ["ConvDecoder", "ConvEncoder"]


class ConvEncoder(Network):
    """Convolutions of stride 2, each with batch normalization and activation; then one affine map.

    The affine map is of all that the convolutions give. Where out_shape is (..., C, h, w), with the
    height and width that they end in, it is the same at each place, of what they give there: a
    latent that is a map, such as (4, 32, 32), keeps its places.

    In training, batch normalization takes its statistics over all leading dimensions at once: a
    datum's output depends on the batch, and where x has a dimension of particles, on all of them.
    `ResidualEncoder` has no such ties.

    Args:
        in_shape: The shape of one image (..., H, W), usually (C, H, W); or a tuple of shapes, of
            images of one size and of vectors, whose numbers are seen as constant channels.
        out_shape: The shape of one output.
        channels: The channels after each halving of the image; 28 -> 14 -> 7 -> 4 -> 2.
        activation: What builds the nonlinearity after each convolution.
        batch_norm: Whether to normalize; without, an output depends on its own input alone.
        dropout: The share of the affine map's inputs that each training step leaves out.

    Reference:
        Radford et al., 2016, https://arxiv.org/abs/1511.06434

    Example:
        >>> ConvEncoder((1, 28, 28), (2, 20))(torch.zeros(5, 8, 1, 28, 28)).shape
        torch.Size([5, 8, 2, 20])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        activation: Callable[[], nn.Module] = nn.ReLU,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        image = joined_image("ConvEncoder", in_shape)
        flat_size("ConvEncoder", out_shape)
        size = halved_sizes("ConvEncoder", image, channels)[-1]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([image[0], *channels]):
            layers += [
                nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=not batch_norm),
                *([nn.BatchNorm2d(fan_out)] if batch_norm else []),
                activation(),
            ]
        layers += affine((channels[-1], *size), out_shape, dropped("a ConvEncoder", dropout))
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=image)


class ConvDecoder(Network):
    """`ConvEncoder` mirrored: one affine map, then transposed convolutions of stride 2.

    The last layer is a convolution, so its values are unbounded, as a likelihood's parameters need.
    What `ConvEncoder` says of batch normalization holds: with K particles, the statistics are over
    the K times N latents of a batch.

    Args:
        in_shape: The shape of one input, usually that of a latent, or a tuple of shapes. Maps (C,
            h, w) of the height and width that the convolutions begin with are taken as they are,
            with vectors as constant channels; anything else is flattened.
        out_shape: The shape of one output (..., H, W), such as (C, H, W), or (2, C, H, W) for two
            parameters a pixel; what stands before (H, W) is made as channels.
        channels: The channels before each doubling of the image, in the order of the encoder's.
        activation: What builds the nonlinearity before each convolution.
        batch_norm: Whether to normalize; without, an output depends on its own input alone.

    Reference:
        Radford et al., 2016, https://arxiv.org/abs/1511.06434

    Example:
        >>> ConvDecoder((20,), (2, 1, 28, 28))(torch.zeros(5, 8, 20)).shape
        torch.Size([5, 8, 2, 1, 28, 28])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        activation: Callable[[], nn.Module] = nn.ReLU,
        batch_norm: bool = True,
    ) -> None:
        out_channels, *size = image_shape("ConvDecoder", out_shape)
        *sizes, smallest = halved_sizes("ConvDecoder", out_shape, channels)
        seen_as = seen_in("ConvDecoder", in_shape, smallest)
        layers = affine(seen_as, (channels[-1], *smallest))
        fans = pairwise([*reversed(channels), out_channels])
        for (fan_in, fan_out), (height, width) in zip(fans, reversed(sizes), strict=True):
            # 2 n - 1 pixels come from n, and one more with output padding
            padding = ((height + 1) % 2, (width + 1) % 2)
            last = [height, width] == size
            layers += [
                *([nn.BatchNorm2d(fan_in)] if batch_norm else []),
                activation(),
                nn.ConvTranspose2d(fan_in, fan_out, 3, 2, 1, padding, bias=last or not batch_norm),
            ]
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=seen_as)
