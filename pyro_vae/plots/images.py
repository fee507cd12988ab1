"""Pictures of data: grids, pairs, manifolds and interpolations.

Images are (C, H, W) with one or three channels, shown from black to white and clipped to that. Rows
of numbers become heat maps, and data of other shapes, such as sequences (steps, numbers), small
pictures with the steps to the right; both with colours from their smallest to their largest value.
What is missing, NaN, is pale blue.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .style import COLORS, add_title
from .tables import heat_map, heat_maps, is_table
from .tiles import check_some, in_rows, show, to_tiles

__all__ = ["grid", "interpolation", "manifold", "pairs"]

_MOST_PAIRS = 50  # five rows of ten, whose labels still stand apart


def grid(
    x: Tensor,
    *,
    columns: int | None = None,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    levels: tuple[float, float] = (0, 1),
    title: str | None = None,
) -> Figure:
    """Shows data side by side, row after row.

    Args:
        x: Images (N, C, H, W); rows of numbers (N, D) become a heat map with a row an item.
        columns: The items in a row; None makes the grid square.
        row_labels: What to write beside each row.
        column_labels: What to write above each column; a heat map has none.
        levels: Which values of an image are black and white.
        title: What stands above.

    Raises:
        ValueError: If there is nothing to show, `columns` is below 1, or the labels are too few or
            too many.
    """
    check_some(x)
    columns = math.ceil(math.sqrt(len(x))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns must be at least 1, but is {columns}")
    columns = min(columns, len(x))
    _check_labels("row_labels", row_labels, math.ceil(len(x) / columns))
    _check_labels("column_labels", column_labels, columns)
    if is_table(x):
        figure = heat_map(x, row_labels, items=columns)
    else:
        tiles = to_tiles(x, levels)
        tiles = replace(tiles, pictures=in_rows(tiles.pictures, columns))
        figure, _ = show(tiles, row_labels=row_labels, column_labels=column_labels)
    add_title(figure, title)
    return figure


def pairs(
    x: Tensor, x_hat: Tensor, *, levels: tuple[float, float] = (0, 1), title: str | None = None
) -> Figure:
    """Shows each datum above its reconstruction, ten in a row; of more than 50 the first 50.

    Rows of numbers become two heat maps.

    Args:
        x: The data, (N, *x_shape).
        x_hat: Their reconstructions, of the same shape.
        levels: Which values of an image are black and white.
        title: What stands above.

    Raises:
        ValueError: If the shapes differ or there is nothing to show.
    """
    check_some(x)
    if x.shape != x_hat.shape:
        raise ValueError(
            f"x is {tuple(x.shape)}, but x_hat is {tuple(x_hat.shape)}; give one reconstruction of "
            "each datum"
        )
    names = ["data", "reconstruction"]
    x, x_hat = x[:_MOST_PAIRS], x_hat[:_MOST_PAIRS].to(x)
    if is_table(x):
        figure = heat_maps(torch.stack([x, x_hat]), names)
    else:
        tiles = to_tiles(torch.cat([x, x_hat]), levels)  # one scale for both
        columns = min(len(x), 10)
        halves = [in_rows(half, columns) for half in np.split(tiles.pictures, 2)]
        rows = np.stack(halves, 1).reshape(-1, *halves[0].shape[1:])
        figure, _ = show(replace(tiles, pictures=rows), row_labels=names * len(halves[0]))
    add_title(figure, title)
    return figure


def manifold(
    x: Tensor,
    *,
    extent: tuple[float, float],
    labels: tuple[str, str] = ("$z_1$", "$z_2$"),
    levels: tuple[float, float] = (0, 1),
    title: str | None = None,
) -> Figure:
    """Shows what a square grid of two latents decodes to.

    Args:
        x: Data (R * R, *x_shape); `x[i * R + j]` belongs to the i-th of R rising values of z_2 and
            the j-th of z_1.
        extent: The lowest and the highest of these values.
        labels: What the two latents are.
        levels: Which values of an image are black and white.
        title: What stands above.

    Raises:
        ValueError: If the number of images is not a square or `extent` is empty.
    """
    check_some(x)
    side, (low, high) = math.isqrt(len(x)), extent
    if side * side != len(x) or not low < high:
        raise ValueError(
            f"a manifold needs R * R images and low < high, but got {len(x)} and {extent}"
        )
    tiles = to_tiles(x, levels)
    tiles = replace(tiles, pictures=in_rows(tiles.pictures, side)[::-1])  # z_2 rises upwards
    half = (high - low) / max(1, side - 1) / 2  # an image is centred on its latent
    limits = (low - half, high + half)
    figure, ax = show(tiles, extent=(*limits, *limits))
    below = "\n".join(text for text in (labels[0], tiles.caption) if text)
    ax.set_xlabel(below, fontsize="medium", color="black")
    ax.set_ylabel(labels[1])
    add_title(figure, title)
    return figure


def interpolation(
    x: Tensor, *, levels: tuple[float, float] = (0, 1), title: str | None = None
) -> Figure:
    """Shows ways from one datum to another, a row each; of rows of numbers a heat map each.

    Args:
        x: (rows, steps, *x_shape); the first and the last of the steps are marked as the data.
        levels: Which values of an image are black and white.
        title: What stands above.

    Raises:
        ValueError: If there is no row or fewer than two steps.
    """
    if x.dim() < 3 or x.shape[1] < 2:
        raise ValueError(f"x is {tuple(x.shape)}, but expected (rows, 2 steps or more, *x_shape)")
    check_some(x)
    rows, steps = x.shape[:2]
    ends = ["data", *[""] * (steps - 2), "data"]
    if is_table(x[0]):
        figure = heat_maps(x, [], row_labels=ends)
        add_title(figure, title)
        return figure
    tiles = to_tiles(x.flatten(0, 1), levels)
    tiles = replace(tiles, pictures=in_rows(tiles.pictures, steps))
    figure, ax = show(tiles, column_labels=ends)
    for left in (0, steps - 1):
        ax.add_patch(Rectangle((left, 0), 1, rows, fill=False, ec=COLORS[1], lw=2, clip_on=False))
    ax.set_xticks([0.5, steps - 0.5], ["data", "data"])
    add_title(figure, title)
    return figure


def _check_labels(name: str, labels: Sequence[str], count: int) -> None:
    if labels and len(labels) != count:
        raise ValueError(f"{name} has {len(labels)} texts, but there are {count} to label")
