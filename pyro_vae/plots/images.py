"""Pictures of data: grids, pairs, manifolds and interpolations.

Images are (C, H, W) with one or three channels, shown from 0 (black) to 1 (white) and clipped to
that. Data of any other shape are shown as bars of grey levels from their smallest value to their
largest.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .style import COLORS, WIDTH, Array, to_numpy

__all__ = ["grid", "interpolation", "manifold", "pairs"]

_MOST_PAIRS = 50  # five rows of ten, whose labels still stand apart


def grid(x: Tensor, *, columns: int | None = None, title: str | None = None) -> Figure:
    """Shows images side by side, row after row.

    Args:
        x: Images (N, C, H, W); other data (N, ...) become a heat map with a row an item.
        columns: The images in a row; None makes the grid square.
        title: What stands above.

    Raises:
        ValueError: If there is nothing to show or `columns` is below 1.
    """
    _check_some(x)
    if not _is_image(x.shape[1:]):
        return _heat_map(x, title)
    columns = math.ceil(math.sqrt(len(x))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns must be at least 1, but is {columns}")
    figure, ax = _show(_rows(_pictures(x), min(columns, len(x))), title)
    ax.set_axis_off()
    return figure


def pairs(x: Tensor, x_hat: Tensor, *, title: str | None = None) -> Figure:
    """Shows each datum above its reconstruction, ten in a row; of more than 50 the first 50.

    Args:
        x: The data, (N, *x_shape).
        x_hat: Their reconstructions, of the same shape.
        title: What stands above.

    Raises:
        ValueError: If the shapes differ or there is nothing to show.
    """
    _check_some(x)
    if x.shape != x_hat.shape:
        raise ValueError(
            f"x is {tuple(x.shape)}, but x_hat is {tuple(x_hat.shape)}; give one reconstruction of "
            "each datum"
        )
    x, x_hat = x[:_MOST_PAIRS], x_hat[:_MOST_PAIRS]
    both = _pictures(torch.cat([x, x_hat.to(x)]))  # one scale of greys for both
    halves = [_rows(half, min(len(x), 10)) for half in (both[: len(x)], both[len(x) :])]
    tiles = np.stack(halves, 1).reshape(-1, *halves[0].shape[1:])
    figure, ax = _show(tiles, title, labels=1.2)
    ax.set_yticks(np.arange(len(tiles)) + 0.5, ["data", "reconstruction"] * len(halves[0]))
    return figure


def manifold(x: Tensor, *, extent: tuple[float, float], title: str | None = None) -> Figure:
    """Shows what a square grid of two latents decodes to, without gaps.

    Args:
        x: Images (R * R, C, H, W); `x[i * R + j]` belongs to the i-th of R rising values of z_2
            and the j-th of z_1.
        extent: The lowest and the highest of these values.
        title: What stands above.

    Raises:
        ValueError: If the number of images is not a square or `extent` is empty.
    """
    _check_some(x)
    side, (low, high) = math.isqrt(len(x)), extent
    if side * side != len(x) or not low < high:
        raise ValueError(
            f"a manifold needs R * R images and low < high, but got {len(x)} and {extent}"
        )
    tiles = _rows(_pictures(x), side)[::-1]  # z_2 rises upwards
    half = (high - low) / max(1, side - 1) / 2  # an image is centred on its latent
    limits = (low - half, high + half)
    figure, ax = _show(tiles, title, gap=0, extent=(*limits, *limits), labels=0.5)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return figure


def interpolation(x: Tensor, *, title: str | None = None) -> Figure:
    """Shows ways from one datum to another, a row each.

    Args:
        x: (rows, steps, C, H, W); the first and the last of the steps are marked as the data.
        title: What stands above.

    Raises:
        ValueError: If there is no row or fewer than two steps.
    """
    if x.dim() < 3 or x.shape[1] < 2:
        raise ValueError(f"x is {tuple(x.shape)}, but expected (rows, 2 steps or more, *x_shape)")
    _check_some(x)
    rows, steps = x.shape[:2]
    figure, ax = _show(_rows(_pictures(x.flatten(0, 1)), steps), title)
    for left in (0, steps - 1):
        ax.add_patch(Rectangle((left, 0), 1, rows, fill=False, ec=COLORS[1], lw=2, clip_on=False))
    ax.set_xticks([0.5, steps - 0.5], ["data", "data"])
    return figure


def _show(
    tiles: Array,
    title: str | None,
    *,
    gap: int = 1,
    extent: tuple[float, float, float, float] | None = None,
    labels: float = 0.0,
) -> tuple[Figure, Axes]:
    """Shows tiles (rows, columns, H, W, C), one unit wide and high unless `extent` says else."""
    fine = math.ceil(28 / min(tiles.shape[2:4]))  # so that one pixel is a narrow gap
    tiles = tiles.repeat(fine, 2).repeat(fine, 3)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=1)
    rows, columns, height, width, channels = tiles.shape
    canvas = tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    wide = min(WIDTH - labels, columns)  # inches
    tall = wide * canvas.shape[0] / canvas.shape[1]
    shrink = min(1, 8 / tall)
    margins = labels, 0.3 * (title is not None) + 0.5 * (extent is not None)
    size = (max(2, wide * shrink + margins[0]), tall * shrink + margins[1])
    figure = Figure(figsize=size, layout="compressed")  # constrained, for a fixed aspect
    ax = figure.add_subplot()
    ax.imshow(
        canvas if channels == 3 else canvas[..., 0],
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=extent or (0, columns, rows, 0),
        aspect=height / width,
    )
    if extent is None:
        ax.set(xticks=[], yticks=[])
        ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
        ax.spines[:].set_visible(False)
    if title is not None:
        ax.set_title(title)
    return figure, ax


def _heat_map(x: Tensor, title: str | None) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    ax = figure.add_subplot(xlabel="dimension", ylabel="item")
    shown = ax.imshow(
        to_numpy(x.flatten(1)), aspect="auto", cmap="viridis", interpolation="nearest"
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(shown, label="value")
    if title is not None:
        ax.set_title(title)
    return figure


def _pictures(x: Tensor) -> Array:
    """Turns (N, *x_shape) into (N, H, W, C) between 0 and 1."""
    if _is_image(x.shape[1:]):
        return np.moveaxis(to_numpy(x), 1, -1).clip(0, 1)
    bars = to_numpy(x.flatten(1))[:, :, None, None]
    bars = (bars - bars.min()) / max(np.ptp(bars), np.finfo(bars.dtype).tiny)
    return bars.repeat(max(1, bars.shape[1] // 4), 2)


def _rows(pictures: Array, columns: int) -> Array:
    """Arranges (N, H, W, C) as (rows, columns, H, W, C), white where there are no more."""
    missing = -len(pictures) % columns
    full = np.pad(pictures, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=1)
    return full.reshape(-1, columns, *pictures.shape[1:])


def _is_image(x_shape: Sequence[int]) -> bool:
    return len(x_shape) == 3 and x_shape[0] in (1, 3)


def _check_some(x: Tensor) -> None:
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(
            f"x is {tuple(x.shape)}, but expected (N, *x_shape) with something to show"
        )
