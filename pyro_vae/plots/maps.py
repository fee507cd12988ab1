"""Where data lie in a plane, with the data themselves as small pictures."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .latents import scatter
from .style import Array, to_numpy
from .tiles import to_tiles

__all__ = ["picture_map"]

_ACROSS = 16  # pictures side by side, of which none covers another


def picture_map(
    points: Tensor,
    x: Tensor,
    y: Tensor | None = None,
    *,
    labels: tuple[str, str] = ("", ""),
    levels: tuple[float, float] = (0, 1),
    title: str | None = None,
) -> Figure:
    """Draws data as points in a plane, and pictures of as many as have room.

    Args:
        points: Where they lie, (N, 2).
        x: The data, (N, *x_shape).
        y: (N,) numbers to colour the points by; see `scatter`.
        labels: What the two coordinates are.
        levels: Which values of an image are black and white.
        title: What stands above.

    Raises:
        ValueError: As `scatter`, or if there are not as many data as points.
    """
    if len(points) != len(x):
        raise ValueError(f"there are {len(points)} points, but {len(x)} data; give each one point")
    figure = scatter(points, y, labels=labels, title=title)
    figure.set_size_inches(*(1.6 * figure.get_size_inches()))
    ax = figure.axes[0]
    across, up = ax.get_xlim(), ax.get_ylim()
    distance, places = (across[1] - across[0]) / _ACROSS, to_numpy(points[:, :2])
    shown = _apart(places, distance)
    pictures = to_tiles(x[shown].cpu(), levels).pictures
    height, width, _ = pictures.shape[1:]
    half = 0.45 * distance / max(height, width)  # of a pixel, so that a gap is left between two
    for (right, high), picture in zip(places[shown], pictures, strict=True):
        ax.imshow(
            np.broadcast_to(picture, (height, width, 3)),
            extent=(
                right - half * width,
                right + half * width,
                high - half * height,
                high + half * height,
            ),
            zorder=3,
        )
    ax.set(xlim=across, ylim=up)  # which images change
    return figure


def _apart(places: Array, distance: float) -> list[int]:
    """Rows of which no two are nearer than a distance, in either coordinate."""
    kept: list[int] = []
    for row, place in enumerate(places):
        if not kept or (np.abs(places[kept] - place).max(1) >= distance).all():
            kept.append(row)
    return kept
