"""Shapes as sets of points of the unit disc, and their black and white pictures."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ASYMMETRIC", "SYMMETRIC", "Outline", "picture"]

Outline = Callable[[Tensor, Tensor], Tensor]

_POINTS = (
    7  # in each direction of a pixel, lit if most are inside; odd, so that no pixel is in doubt
)

# The points of the heart's curve are at most this far from 0: r, where the derivative of
# cos^2 sin^3 is 0 and (r^2 - 1)^3 = r^5 (2/5) (3/5)^(3/2).
_HEART = 1.4247


def _square(u: Tensor, v: Tensor) -> Tensor:
    """Of side sqrt(2): area 2."""
    return torch.maximum(u.abs(), v.abs()) <= math.sqrt(0.5)


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Of half-axes 1 and 1/2: area pi / 2."""
    return u**2 + (2 * v) ** 2 <= 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    u, v = _HEART * u, _HEART * v
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3


def _half_disc(u: Tensor, v: Tensor) -> Tensor:
    """Of radius sqrt(0.84), its straight edge at v = -0.4: area 0.42 pi."""
    return (u**2 + (v + 0.4) ** 2 <= 0.84) & (v >= -0.4)


def _ell(u: Tensor, v: Tensor) -> Tensor:
    """The letter L: a rectangle of 1.1 x 1.6 less one of 0.7 x 1.2: area 0.92."""
    return (u.abs() <= 0.55) & (v.abs() <= 0.8) & ((u <= -0.15) | (v <= -0.4))


SYMMETRIC: dict[str, Outline] = {"square": _square, "ellipse": _ellipse, "heart": _heart}
# None of these is brought upon itself by a turn.
ASYMMETRIC: dict[str, Outline] = {"heart": _heart, "half-disc": _half_disc, "L": _ell}


def picture(outline: Outline, radius: float, angles: Tensor, half_width: int) -> Tensor:
    """A shape turned by angles: booleans (A, W, W), W = 2 half_width + 1, centred on a pixel.

    Args:
        outline: Which points (u, v) of the unit disc are the shape's, v upwards.
        radius: That of the disc, in pixels.
        angles: By how much it is turned, counterclockwise, in radians, (A,).
        half_width: The pixels on each side of the middle one.
    """
    width = 2 * half_width + 1
    offset = (torch.arange(width * _POINTS, dtype=torch.float64) + 0.5) / _POINTS - width / 2
    across, up = offset, -offset.unsqueeze(-1)  # rows of a picture go down
    radius *= 1 + 1e-9  # or rounding would tell turns apart where an edge passes through points
    cos, sin = (f(angles.double())[:, None, None] / radius for f in (torch.cos, torch.sin))
    inside = outline(cos * across + sin * up, cos * up - sin * across)  # (A, W points, W points)
    points = inside.unflatten(2, (width, _POINTS)).unflatten(1, (width, _POINTS))
    return points.double().mean((2, 4)) >= 0.5
