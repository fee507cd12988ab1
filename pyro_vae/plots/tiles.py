"""Data as small pictures, side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from .style import MISSING, WIDTH, Array, text_width, to_numpy

__all__ = ["Tiles", "check_some", "in_rows", "scale_of", "show", "to_tiles"]

_TALLEST = 8.0  # inches of a figure
_LINE = 0.17  # inches between two lines of text


@dataclass(frozen=True)
class Tiles:
    """Pictures of equal size, and what their colours say.

    Args:
        pictures: (..., H, W, 1) grey levels from 0 to 1, or (..., H, W, 3) colours.
        scale: The values that the colours stand for; None for images.
        caption: What a reader has to know of the pictures, or nothing.
    """

    pictures: Array
    scale: ScalarMappable | None
    caption: str


def to_tiles(x: Tensor, levels: tuple[float, float]) -> Tiles:
    """Turns data (N, *x_shape) into pictures (N, H, W, C).

    Images are taken as they are, black at the one of `levels` and white at the other. The steps of
    a sequence go to the right and the numbers of each down; rows of numbers go to the right.
    """
    if _is_image(x.shape[1:]):
        return _image_tiles(to_numpy(x), levels)
    values, caption = to_numpy(_as_planes(x)), {3: "steps to the right", 4: "channels side by side"}
    scale = scale_of(values)
    finite = np.isfinite(values)
    shown = np.where(finite, values, np.nan)
    # A matrix, since of three dimensions the last is taken for colours.
    colors = scale.to_rgba(shown.reshape(len(shown), -1))[..., :3].reshape(*shown.shape, 3)
    return Tiles(colors, scale, _captions(caption.get(x.dim(), ""), not finite.all()))


def _as_planes(x: Tensor) -> Tensor:
    """(N, *x_shape) as (N, height, width)."""
    if x.dim() == 4:  # (N, C, H, W)
        return x.transpose(1, 2).flatten(2)
    return x.reshape(len(x), -1, x.shape[-1]).mT if x.dim() > 2 else x[:, None]


def _image_tiles(images: Array, levels: tuple[float, float]) -> Tiles:
    black, white = levels
    if not black < white:
        raise ValueError(f"levels are black's and white's, the lower first, but are {levels}")
    pictures = ((np.moveaxis(images, 1, -1) - black) / (white - black)).clip(0, 1)
    missing = np.isnan(pictures).any(-1, keepdims=True)
    if missing.any():
        pictures = np.where(missing, np.array(to_rgb(MISSING), pictures.dtype), pictures)
    caption = "" if levels == (0, 1) else f"black: {black:g}, white: {white:g}"
    return Tiles(pictures, None, _captions(caption, missing.any()))


def _captions(caption: str, missing: bool) -> str:
    return "; ".join(part for part in (caption, "blue: missing" if missing else "") if part)


def scale_of(values: Array) -> ScalarMappable:
    """Colours from the smallest to the largest finite value, and one for what is missing."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    colors = matplotlib.colormaps["viridis"].with_extremes(bad=MISSING)
    return ScalarMappable(Normalize(low, high), colors)


def in_rows(pictures: Array, columns: int) -> Array:
    """Arranges (N, H, W, C) as (rows, columns, H, W, C), white where there are no more."""
    missing = -len(pictures) % columns
    full = np.pad(pictures, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=1)
    return full.reshape(-1, columns, *pictures.shape[1:])


def show(
    tiles: Tiles,
    *,
    extent: tuple[float, float, float, float] | None = None,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> tuple[Figure, Axes]:
    """Shows (rows, columns, H, W, C), one unit wide and high unless `extent` says else.

    Tiles that are no images are drawn square.
    """
    pictures = tiles.pictures
    height, width = pictures.shape[2:4]
    ratio = height / width if tiles.scale is None else 1.0
    fine = [math.ceil(28 / size) for size in (height, width)]  # so that one pixel is a narrow gap
    if tiles.scale is None:
        fine = [max(fine)] * 2
    pictures = pictures.repeat(fine[0], 2).repeat(fine[1], 3)
    pictures = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    rows, columns, height, width, channels = pictures.shape
    canvas = pictures.swapaxes(1, 2).reshape(rows * height, columns * width, channels)

    left = 0.5 if extent else max(map(text_width, row_labels), default=-0.1) + 0.1
    right = 1.0 * (tiles.scale is not None)
    below = 0.5 * (extent is not None) + 0.25 * bool(tiles.caption)
    wide = min(WIDTH - left - right, columns)  # inches
    wide *= min(1, _TALLEST / (wide * ratio * rows / columns))
    tall = wide * ratio * rows / columns
    lowest = 1.3 if tiles.scale is not None else 0.0  # below it the scale has no room for its name
    size = (
        max(2, wide + left + right),
        max(lowest, tall + below + 0.25 * bool(column_labels)),
    )
    figure = Figure(figsize=size, layout="compressed")  # constrained, for a fixed aspect
    ax = figure.add_subplot()
    ax.imshow(
        canvas if channels == 3 else canvas[..., 0],
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=extent or (0, columns, rows, 0),
        aspect=ratio,
    )
    if extent is None:
        _label(ax, row_labels, column_labels, wide / columns, tall / rows)
    if tiles.caption:
        ax.set_xlabel(tiles.caption, fontsize="small", color="0.3")
    if tiles.scale is not None:
        figure.colorbar(tiles.scale, ax=ax, label="value")
    return figure, ax


def _label(
    ax: Axes, rows: Sequence[str], columns: Sequence[str], width: float, height: float
) -> None:
    """Names rows on the left and columns above; leaves names out where they would touch."""
    every = math.ceil(_LINE / height) if rows else 1
    ax.set_yticks(np.arange(0, len(rows), every) + 0.5, rows[::every])
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns)
    widest = max(map(text_width, columns), default=0)
    if widest > 0.95 * width:  # points
        ax.tick_params(axis="x", labelsize=max(5, 10 * 0.95 * width / widest))
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)


def check_some(x: Tensor) -> None:
    """Refuses data without an item, a dimension or a value.

    Raises:
        ValueError: If there is nothing to show.
    """
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(
            f"x is {tuple(x.shape)}, but expected (N, *x_shape) with something to show"
        )


def _is_image(x_shape: Sequence[int]) -> bool:
    return len(x_shape) == 3 and x_shape[0] in (1, 3)
