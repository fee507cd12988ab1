"""Gated residual blocks between maps of any two sizes, as in convolutional ladders."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from pyro_vae.shapes import InShape, as_in_shape, input_shapes

from .images import affine, image_shape, joined_image
from .network import Network, flat_size
from .residual import group_norm

__all__ = ["GatedResidual"]

Activation = Callable[[], nn.Module]
Size = tuple[int, int]


class GatedResidual(Network):
    """x + a * sigmoid(b) with (a, b) = f(x), at each size from that of the input to the output's.

    One class goes both ways, and so is each encoder, decoder and merge of a `LadderVAE` whose
    latents are maps. Between two sizes it halves maps by a convolution of stride 2, odd sizes
    rounded up, or doubles them by nearest upsampling and a convolution. What begins or ends in a
    vector is maps of at most 4 by 4 there, by an affine map.

    Args:
        in_shape: The shape of one input (..., h, w), or (D,) for a vector; or a tuple of shapes, of
            maps of one size and of vectors, whose numbers are seen as constant channels.
        out_shape: The shape of one output, (..., C, H, W) for maps.
        channels: The channels of all blocks.
        blocks: The blocks at each size.
        activation: What builds the nonlinearity before each convolution of a block.
        batch_norm: Whether the blocks normalize by the statistics of the batch, of which
            `ConvEncoder` tells; without, by those of groups of channels of one datum.

    Raises:
        ValueError: If halving one size does not lead to the other, or there are no maps.

    Reference:
        He et al., 2016, https://arxiv.org/abs/1603.05027; the gate: van den Oord et al., 2016,
        https://arxiv.org/abs/1606.05328

    Example:
        >>> GatedResidual((1, 28, 28), (2, 8, 7, 7))(torch.zeros(5, 3, 1, 28, 28)).shape
        torch.Size([5, 3, 2, 8, 7, 7])
        >>> GatedResidual((8, 7, 7), (1, 28, 28))(torch.zeros(5, 8, 7, 7)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: int = 32,
        blocks: int = 1,
        activation: Activation = nn.SiLU,
        batch_norm: bool = True,
    ) -> None:
        if min(channels, blocks) < 1:
            raise ValueError(
                "a GatedResidual needs at least one channel and one block at each size, but "
                f"channels is {channels} and blocks is {blocks}"
            )
        flat, _ = flat_size("GatedResidual", in_shape), flat_size("GatedResidual", out_shape)
        from_maps = len(max(input_shapes(in_shape), key=len)) > 2
        sizes = _sizes(in_shape, out_shape, from_maps)
        seen_as: tuple[int, ...] = (flat,)
        if from_maps:
            seen_as = joined_image("GatedResidual", in_shape)
            layers: list[nn.Module] = [nn.Conv2d(seen_as[0], channels, 3, padding=1)]
        else:
            layers = affine(seen_as, (channels, *sizes[0]))
        for size, before in zip(sizes, [None, *sizes], strict=False):
            if before is not None:
                layers += _resized(channels, before, size)
            layers += [_GatedBlock(channels, activation, batch_norm) for _ in range(blocks)]
        layers += [activation(), *affine((channels, *sizes[-1]), out_shape)]
        super().__init__(in_shape, out_shape, nn.Sequential(*layers), seen_as=seen_as)


class _GatedBlock(nn.Module):
    """x + a * sigmoid(b), where (a, b) are of normalization, activation, convolution, twice."""

    def __init__(self, channels: int, activation: Activation, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else group_norm
        self.layers = nn.Sequential(
            norm(channels),
            activation(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm),
            norm(channels),
            activation(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.GLU(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _resized(channels: int, size: Size, wanted: Size) -> list[nn.Module]:
    if wanted[0] < size[0] or wanted[1] < size[1]:
        return [nn.Conv2d(channels, channels, 3, stride=2, padding=1)]
    return [nn.Upsample(wanted), nn.Conv2d(channels, channels, 3, padding=1)]


def _sizes(in_shape: InShape, out_shape: Sequence[int], from_maps: bool) -> list[Size]:
    """The height and width of the input, after each halving or doubling, and of the output."""
    to_maps = len(out_shape) > 2
    if not (from_maps or to_maps):
        raise ValueError(
            f"a GatedResidual is between maps, or between maps and a vector, but in_shape is "
            f"{as_in_shape(in_shape)} and out_shape is {tuple(out_shape)}; take an MLP"
        )
    first = last = (4, 4)
    if from_maps:
        first = joined_image("GatedResidual", in_shape)[1:]
    if to_maps:
        last = image_shape("GatedResidual", out_shape)[1:]
    if from_maps and to_maps:
        larger, smaller = max(first, last), min(first, last)
        path = _halved(larger, smaller)
        if path[-1] != smaller:
            raise ValueError(
                f"a GatedResidual from {as_in_shape(in_shape)} to {tuple(out_shape)} would have to "
                f"halve {larger} to {smaller}, but comes by {', '.join(map(str, path[1:]))}; give "
                "latents of such a size"
            )
        return path if larger == first else path[::-1]
    return _halved(first, last) if from_maps else _halved(last, first)[::-1]


def _halved(size: Size, until: Size) -> list[Size]:
    """A size, and its halves rounded up, to the first that is in no way above another one."""
    sizes = [size]
    while sizes[-1][0] > until[0] or sizes[-1][1] > until[1]:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes
