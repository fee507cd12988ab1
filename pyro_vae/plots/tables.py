"""Rows of numbers as heat maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .style import WIDTH, Array, to_numpy
from .tiles import scale_of

__all__ = ["heat_map", "heat_maps", "is_table"]


def is_table(x: Tensor) -> bool:
    """Whether a datum is a row of numbers, be they dimensions or steps."""
    return x.dim() == 2 or (x.dim() == 3 and x.shape[2] == 1)


def heat_map(x: Tensor, row_labels: Sequence[str] = (), *, items: int = 1) -> Figure:
    """Shows (N, D) numbers, a row an item; names each so many items if there are names."""
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    ax = figure.add_subplot()
    values = to_numpy(x.flatten(1))
    scale = scale_of(values)
    _draw(ax, values, scale, _across(x))
    if row_labels:
        places = [np.arange(len(x))[i * items :][:items].mean() for i in range(len(row_labels))]
        ax.set_yticks(places, row_labels)
        for edge in range(items, len(x), items):
            ax.axhline(edge - 0.5, color="white", lw=2)
    else:
        ax.set_ylabel("item")
    _add_scale(figure, [ax], scale, values)
    return figure


def heat_maps(x: Tensor, titles: Sequence[str], row_labels: Sequence[str] = ()) -> Figure:
    """Shows (M, N, D) numbers as M heat maps with one scale of colours.

    They stand side by side, or below each other if their rows have names.
    """
    values = to_numpy(x.flatten(2))
    scale = scale_of(values)
    high = min(8.0, 0.7 + len(x) * max(0.8, 0.2 * x.shape[1]))
    figure = Figure(figsize=(WIDTH, high if row_labels else 3.5), layout="constrained")
    grid = (len(x), 1) if row_labels else (1, len(x))
    axes = list(figure.subplots(*grid, sharex=True, sharey=True, squeeze=False).flat)
    for i, (ax, rows) in enumerate(zip(axes, values, strict=True)):
        _draw(ax, rows, scale, _across(x[0]) if not row_labels or i == len(x) - 1 else "")
        if titles:
            ax.set_title(titles[i], fontsize="medium")
        if row_labels:
            ax.set_yticks(range(len(row_labels)), row_labels)
    if not row_labels:
        axes[0].set_ylabel("item")
    _add_scale(figure, axes, scale, values)
    return figure


def _across(x: Tensor) -> str:
    return "dimension" if x.dim() == 2 else "step"


def _draw(ax: Axes, values: Array, scale: ScalarMappable, label: str) -> None:
    low, high = scale.get_clim()
    ax.imshow(
        np.where(np.isfinite(values), values, np.nan),
        aspect="auto",
        cmap=scale.cmap,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _add_scale(figure: Figure, axes: Sequence[Axes], scale: ScalarMappable, values: Array) -> None:
    missing = not np.isfinite(values).all()
    figure.colorbar(scale, ax=axes, label="value (blue: missing)" if missing else "value")
