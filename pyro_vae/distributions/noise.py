"""How noise is added to a latent in steps, until nothing else is left (Ho et al., 2020)."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from pyro_vae.checks import check_sizes

__all__ = ["Noise", "cosine_noise", "linear_noise", "log_snr_noise", "noise_levels"]

# The noise's share of the variance after each step, or a function of the number of steps to it.
Noise: TypeAlias = Callable[[int], Tensor] | Sequence[float]

_STEPS = 100


def cosine_noise(steps: int, *, offset: float = 0.008) -> Tensor:
    """A share of noise that grows slowly at both ends, (T,).

        1 - f(t) / f(0),    f(t) = cos^2(pi / 2 (t / T + offset) / (1 + offset))

    No step keeps less than 1/1000 of the variance that is left of z.

    Args:
        steps: T.
        offset: Keeps the first step from being too small.

    Reference:
        Nichol and Dhariwal, 2021, https://arxiv.org/abs/2102.09672, equation 17
    """
    places = (torch.arange(steps + 1, dtype=torch.float64) / steps + offset) / (1 + offset)
    f = (math.pi / 2 * places).cos() ** 2
    return 1 - (f[1:] / f[:-1]).clamp(min=1e-3).cumprod(0)


def linear_noise(steps: int, *, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """A share of noise after steps that each add more, from `first` to `last`, (T,).

    The two are those of 1,000 steps; each of fewer takes several of these together.

    Args:
        steps: T.
        first: The noise of the first of 1,000 steps.
        last: That of the last.

    Reference:
        Ho et al., 2020, https://arxiv.org/abs/2006.11239, section 4
    """
    beta = torch.linspace(first, last, 1000, dtype=torch.float64)
    log_signal = torch.cat([beta.new_zeros(1), (-beta).log1p().cumsum(0)])
    place = torch.arange(1, steps + 1, dtype=torch.float64) * 1000 / steps
    before = place.long().clamp(max=999)
    return -torch.expm1(torch.lerp(log_signal[before], log_signal[before + 1], place - before))


def log_snr_noise(steps: int, *, highest: float = 8.0, lowest: float = -6.0) -> Tensor:
    """A share of noise whose log signal-to-noise ratio falls by the same at each step, (T,).

    Args:
        steps: T.
        highest: The log of signal variance over noise variance after the first step.
        lowest: That after the last.

    Reference:
        Kingma et al., 2021, https://arxiv.org/abs/2107.00630, where such a schedule is learned
    """
    return torch.linspace(-highest, -lowest, steps, dtype=torch.float64).sigmoid()


def noise_levels(noise: Noise, steps: int | None) -> Tensor:
    """The share of noise after each step, (T,), checked.

    Args:
        noise: A function of the number of steps, or the numbers.
        steps: T; None for as many as there are numbers, or 100.

    Raises:
        ValueError: If there are no steps, another number of them than of the noise, or if the
            noise does not grow at each.
    """
    if steps is not None:
        check_sizes(steps=steps)
    numbers = noise(steps or _STEPS) if callable(noise) else noise
    levels = torch.as_tensor(numbers, dtype=torch.float64)
    if levels.dim() != 1 or len(levels) != (steps or len(levels)) or not len(levels):
        raise ValueError(
            f"noise must be one number for each of {steps or 'some'} steps, but has the shape "
            f"{tuple(levels.shape)}; give as many numbers, or a function of the steps, such as "
            "cosine_noise"
        )
    bounds = torch.cat([levels.new_zeros(1), levels, levels.new_ones(1)])
    if not (bounds.diff() > 0).all():
        raise ValueError(
            "noise must grow at each step, from above 0 to below 1, but is "
            f"{', '.join(f'{level:.4g}' for level in levels[:8].tolist())}"
            f"{', ...' if len(levels) > 8 else ''}; it is the noise's share of the variance after "
            "each step"
        )
    return levels
