"""A network of maps and of how noisy they are, as the package diffusers has it."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.extras import import_diffusers
from pyro_vae.shapes import InShape, input_shapes

from .images import image_shape, joined_image
from .network import Network

__all__ = ["UNet"]


class UNet(Network):
    """Residual blocks down to smaller maps and up again, with a bridge at each size; starts as 0.

    The smallest maps have attention between all places. It is the `UNet2DModel` of diffusers.

    Args:
        in_shape: The shapes of the maps (..., H, W), and of their log signal-to-noise ratio, such
            as ((4, 8, 8), (1,)).
        out_shape: The shape of one output (..., H, W), such as (4, 8, 8).
        channels: Those at each size of the maps, the first of which is their own.
        blocks: The residual blocks at each size.
        groups: The groups of channels that are normalized together; by default as many, up to 32,
            as divide all numbers of channels and leave at least 4 channels to each.
        dropout: The share of a block's units that each training step leaves out.

    Raises:
        ValueError: If 2^(len(channels) - 1) does not divide H and W, or the groups not the
            channels; or if the extra diffusers is not installed.

    Reference:
        Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597; for noise levels: Ho et al.,
        2020, https://arxiv.org/abs/2006.11239, appendix B

    Example:
        >>> UNet(((4, 8, 8), (1,)), (4, 8, 8))(torch.randn(5, 4, 8, 8), torch.zeros(5, 1)).shape
        torch.Size([5, 4, 8, 8])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        groups: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        check_sizes(blocks=blocks, channels=min(channels, default=0))
        seen_as, out = joined_image("UNet", in_shape), image_shape("UNet", out_shape)
        groups = max(math.gcd(*channels, 128) // 4, 1) if groups is None else groups
        _check(in_shape, seen_as, out, channels, groups)
        plain = len(channels) - 1
        net = import_diffusers().UNet2DModel(
            sample_size=out[1:],
            in_channels=seen_as[0] - 1,
            out_channels=out[0],
            block_out_channels=tuple(channels),
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
            layers_per_block=blocks,
            norm_num_groups=groups,
            attention_head_dim=min(8, min(channels)),
            dropout=dropout,
        )
        nn.init.zeros_(net.conv_out.weight)
        nn.init.zeros_(net.conv_out.bias)
        super().__init__(in_shape, out_shape, _Levelled(net), seen_as=seen_as)


class _Levelled(nn.Module):
    """A UNet2DModel of maps whose last channel is their log ratio everywhere, (N, C + 1, H, W)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):  # of which diffusers' attention makes no shape
            return x.new_zeros(0, self.net.config.out_channels, *x.shape[2:])
        log_snr = x[:, -1, 0, 0]
        # Its sines are made for steps from 0 to 1,000, here of ratios from 10 down to -15.
        steps = 40 * (10 - log_snr)
        return self.net(x[:, :-1], steps, return_dict=False)[0]


def _check(
    in_shape: InShape,
    seen_as: tuple[int, int, int],
    out: tuple[int, int, int],
    channels: Sequence[int],
    groups: int,
) -> None:
    """Refuses maps that cannot be halved, and channels that cannot be grouped."""
    factor, size = 2 ** (len(channels) - 1), seen_as[1:]
    if input_shapes(in_shape)[-1] != (1,) or out[1:] != size:
        raise ValueError(
            f"a UNet maps maps and their noise level to maps of the same size, but got {in_shape} "
            f"and {out}; give shapes such as ((4, 8, 8), (1,)) and (4, 8, 8)"
        )
    if size[0] % factor or size[1] % factor:
        raise ValueError(
            f"a UNet with channels {tuple(channels)} halves its maps {len(channels) - 1} times, "
            f"but {factor} does not divide {size[0]} by {size[1]}; give fewer channels, such as "
            f"network=partial(UNet, channels={tuple(channels[:1])}), or latents of another size"
        )
    if any(number % groups for number in channels):
        raise ValueError(
            f"the groups of a UNet must divide its channels, but {groups} do not divide all of "
            f"{tuple(channels)}"
        )
