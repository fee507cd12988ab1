"""The gated PixelCNN (van den Oord et al., 2016, https://arxiv.org/abs/1606.05328)."""

from collections.abc import Sequence

from torch import Tensor, nn

from pyro_vae.shapes import InShape, input_shapes

from .autoregressive import Autoregressive
from .images import image_shape, joined_image

__all__ = ["PixelCNN"]


class PixelCNN(Autoregressive):
    """Convolutions whose output at a pixel depends on the pixels before it alone, in raster order.

    Before (i, j) are the rows above i, and in row i the columns left of j. A pixel's channels come
    together: the output at (i, j) sees every channel of the pixels before and no channel of (i, j)
    itself, so that channels are independent given them unless the likelihood ties them.

    A vertical stack sees the rows above in full width and a horizontal one the row so far, which
    leaves no blind spot. Instead of masks the kernels are cut and their inputs shifted. Each layer
    widens the view by kernel_size // 2 pixels: to see all that is before it, a pixel needs
    layers * (kernel_size // 2) >= max(H, W) - 1.

    Args:
        in_shape: The shape of one image (C, H, W); or, for a network of an image and contexts that
            every output may depend on, a tuple of shapes, the image's first. A context is features
            (F, H, W), such as a decoder's, or a vector, seen as constant features.
        out_shape: `(..., H, W)`, such as (C, H, W), or (P, C, H, W) for P parameters each.
        channels: The channels of each stack.
        layers: The gated layers, of which the first leaves out the pixel itself (mask A) and the
            others take it in (mask B).
        kernel_size: Height and width of the kernels before they are cut, odd.

    Reference:
        van den Oord et al., 2016, https://arxiv.org/abs/1606.05328, equation 4 and figure 2

    Example:
        >>> net = PixelCNN(((1, 8, 8), (2, 8, 8)), (16, 1, 8, 8), layers=4)
        >>> net(torch.zeros(6, 1, 8, 8), torch.zeros(3, 6, 2, 8, 8)).shape
        torch.Size([3, 6, 16, 1, 8, 8])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: int = 32,
        layers: int = 8,
        kernel_size: int = 5,
    ) -> None:
        x_shape, *contexts = input_shapes(in_shape)
        in_channels, *size = image_shape("PixelCNN", x_shape)
        out_channels, *out_size = image_shape("PixelCNN", out_shape)
        if len(x_shape) != 3 or out_size != size:
            raise ValueError(
                f"a PixelCNN maps images (C, H, W) to (..., H, W), but got {x_shape} and "
                f"{tuple(out_shape)}; give both the same height and width"
            )
        if min(channels, layers) < 1 or kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(
                f"a PixelCNN needs channels and layers, and an odd kernel_size of at least 3, but "
                f"got {channels}, {layers} and {kernel_size}"
            )
        context = joined_image("PixelCNN", (x_shape, *contexts))[0] - in_channels
        stacks = _Stacks(in_channels, channels, out_channels, layers, kernel_size, context)
        super().__init__(in_shape, out_shape, stacks, context_as=(context, *size))


class _Stacks(nn.Module):
    """The two stacks, and what reads the horizontal one."""

    def __init__(
        self, fan_in: int, channels: int, fan_out: int, layers: int, kernel_size: int, context: int
    ) -> None:
        super().__init__()
        self.first = _Gated(fan_in, channels, kernel_size, context, shift=1)
        self.others = nn.ModuleList(
            _Gated(channels, channels, kernel_size, context, shift=0) for _ in range(layers - 1)
        )
        read = [nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.ReLU()]
        self.read = nn.Sequential(*read, nn.Conv2d(channels, fan_out, 1))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        v, h = self.first(x, x, context)
        for layer in self.others:
            v, step = layer(v, h, context)
            h = h + step
        return self.read(h)


class _Gated(nn.Module):
    """A layer of both stacks: y = tanh(W * x + V c) sigmoid(W' * x + V' c).

    Args:
        fan_in: The channels that come in.
        channels: The channels that go out of each stack.
        kernel_size: As for PixelCNN.
        context: The channels of the context, 0 for none.
        shift: 1 leaves out the current row of the vertical stack and the current pixel of the
            horizontal one (mask A), 0 takes them in (mask B).
    """

    def __init__(
        self, fan_in: int, channels: int, kernel_size: int, context: int, *, shift: int
    ) -> None:
        super().__init__()
        reach = kernel_size // 2
        seen = reach + 1 - shift  # rows or columns up to here
        self.vertical = nn.Sequential(
            nn.ZeroPad2d((reach, reach, reach, -shift)),
            nn.Conv2d(fan_in, 2 * channels, (seen, kernel_size)),
        )
        self.horizontal = nn.Sequential(
            nn.ZeroPad2d((reach, -shift, 0, 0)), nn.Conv2d(fan_in, 2 * channels, (1, seen))
        )
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.context = nn.Conv2d(context, 2 * channels, 1) if context else None

    def forward(self, v: Tensor, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        v = self.vertical(v)
        if self.context is not None:
            v = v + self.context(context)
        h = self.horizontal(h) + self.link(v)
        return _gate(v), self.mix(_gate(h))


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()
