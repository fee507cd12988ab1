"""A network of a vector and of how noisy it is."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.checks import check_sizes
from pyro_vae.shapes import InShape

from .mlp import layer_sizes
from .network import Network

__all__ = ["TimeMLP"]

_FREQUENCIES, _LEVEL_UNITS = 16, 64


class TimeMLP(Network):
    """Residual layers whose units are scaled and shifted by the noise level; it starts as 0.

    A unit that the noise level only shifts learns a narrow density several times more slowly.

    Args:
        in_shape: The shapes of z and of its log signal-to-noise ratio, such as ((20,), (1,)).
        out_shape: The shape of one output, such as (20,).
        hidden: Units of each layer.
        layers: Residual layers.
        activation: What builds the nonlinearities.

    Reference:
        Perez et al., 2018, https://arxiv.org/abs/1709.07871; for noise levels: Dhariwal and Nichol,
        2021, https://arxiv.org/abs/2105.05233

    Example:
        >>> TimeMLP(((20,), (1,)), (20,))(torch.randn(5, 20), torch.zeros(5, 1)).shape
        torch.Size([5, 20])
    """

    def __init__(
        self,
        in_shape: InShape,
        out_shape: Sequence[int],
        *,
        hidden: int = 128,
        layers: int = 2,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        check_sizes(hidden=hidden, layers=layers)
        size, _, out_size = layer_sizes("a TimeMLP", in_shape, (hidden,), out_shape)
        scaled = _ScaledLayers(size - 1, hidden, layers, out_size, activation)
        super().__init__(in_shape, out_shape, scaled, seen_as=(size,))


class _ScaledLayers(nn.Module):
    """The layers of a TimeMLP, for z and one number after it, (N, size + 1)."""

    frequencies: Tensor

    def __init__(
        self,
        size: int,
        hidden: int,
        layers: int,
        out_size: int,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        # The log ratio lies between some -15 and 10, where these turn once to eight times.
        frequencies = torch.linspace(math.log(1 / 16), math.log(2.0), _FREQUENCIES).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.level = nn.Sequential(nn.Linear(2 * _FREQUENCIES, _LEVEL_UNITS), activation())
        self.first = nn.Linear(size, hidden)
        self.layers = nn.ModuleList(_Layer(hidden, hidden, activation) for _ in range(layers))
        self.last = _Layer(hidden, out_size, activation)
        nn.init.zeros_(self.last.linear.weight)
        nn.init.zeros_(self.last.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        angles = x[:, -1:] * self.frequencies
        level = self.level(torch.cat([angles.sin(), angles.cos()], 1))
        h = self.first(x[:, :-1])
        for layer in self.layers:
            h = h + layer(h, level)
        return self.last(h, level)


class _Layer(nn.Module):
    """Units that are normalized, scaled and shifted by the level, bent, and mapped."""

    def __init__(self, hidden: int, out_size: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)
        self.scale_and_shift = nn.Linear(_LEVEL_UNITS, 2 * hidden)
        self.activation = activation()
        self.linear = nn.Linear(hidden, out_size)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(level).chunk(2, 1)
        return self.linear(self.activation(self.norm(h) * (1 + scale) + shift))
