"""Where latents lie: on a line or in a plane."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .style import COLORS, WIDTH, Array, add_title, to_numpy

__all__ = ["histogram", "scatter"]

_UNLABELLED = "0.75"  # grey
_BESIDE: dict[str, Any] = {
    "loc": "center left",
    "bbox_to_anchor": (1, 0.5),
    "frameon": False,
    "title": "label",
}


def scatter(
    z: Tensor,
    y: Tensor | None = None,
    *,
    labels: tuple[str, str] = ("$z_1$", "$z_2$"),
    title: str | None = None,
) -> Figure:
    """Draws latents as points in the plane of their first two coordinates.

    Args:
        z: Latents (N, 2 or more).
        y: (N,) numbers to colour them by: up to ten classes get a legend, others a colour bar.
            Whole numbers below 0 say that a label is missing.
        labels: What the two coordinates are.
        title: What stands above.

    Raises:
        ValueError: If z is not at least two-dimensional and finite, or y does not fit it.
    """
    fits = y is None or y.shape == z.shape[:1]
    if z.dim() != 2 or z.shape[1] < 2 or not len(z) or not fits:
        raise ValueError(
            f"z is {tuple(z.shape)} and y {None if y is None else tuple(y.shape)}; expected "
            "(N, 2 or more) and (N,) or None; z.flatten(1) makes vectors of other latents"
        )
    if not z[:, :2].isfinite().all():
        lost = int((~z[:, :2].isfinite()).any(1).sum())
        raise ValueError(f"{lost} of {len(z)} latents are not finite; expected numbers to place")
    figure = Figure(figsize=(WIDTH, 4.2), layout="compressed")
    ax = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    ax.set_aspect("equal")
    ax.locator_params(nbins=6)
    style: dict[str, Any] = {"s": max(4, min(25, 8000 / max(1, len(z)))), "linewidths": 0}
    points = to_numpy(z[:, :2]).T
    if y is None:
        ax.scatter(*points, color=COLORS[0], alpha=0.7, **style)
    else:
        _scatter_by(ax, points, y.cpu(), style)
    low, high = points.min(1), points.max(1)
    reach = 0.55 * float((high - low).max()) or 1.0  # in a square, as the axes share one scale
    middle = (low + high) / 2
    ax.set(**{f"{axis}lim": (m - reach, m + reach) for axis, m in zip("xy", middle, strict=True)})
    add_title(figure, title)
    return figure


def histogram(
    z: Tensor, y: Tensor | None = None, *, label: str = "$z$", title: str | None = None
) -> Figure:
    """Draws how often the values of a latent of one number occur, the classes upon each other.

    Args:
        z: Latents (N,); whole numbers get a bar each.
        y: (N,) labels; up to ten classes get a colour each, others are not told apart. Whole
            numbers below 0 say that a label is missing.
        label: What the number is.
        title: What stands above.

    Raises:
        ValueError: If z is not one finite number a datum, or y does not fit it.
    """
    if z.dim() != 1 or not len(z) or not z.isfinite().all() or (y is not None and len(y) != len(z)):
        raise ValueError(
            f"z is {tuple(z.shape)} and y {None if y is None else tuple(y.shape)}; expected finite "
            "(N,) and (N,) or None"
        )
    colors = {} if y is None else _class_colors(y)
    parts = [to_numpy(z)]
    if y is not None and len(colors) > 1:
        parts = [to_numpy(z[(y == label).to(z.device)]) for label in colors]
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    ax = figure.add_subplot(xlabel=label, ylabel="data")
    ax.hist(
        parts, _bins(to_numpy(z)), stacked=True, color=[*colors.values(), COLORS[0]][: len(parts)]
    )
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(parts) > 1:
        handles = [Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
        ax.legend(handles, map(_name, colors), **_BESIDE)
    add_title(figure, title)
    return figure


def _scatter_by(ax: Axes, points: Array, y: Tensor, style: dict[str, Any]) -> None:
    colors = _class_colors(y)
    if colors:  # in the order of the data, so that no class hides the others
        ax.scatter(*points, color=[colors[label] for label in y.tolist()], alpha=0.7, **style)
        dots = [
            Line2D([], [], ls="", marker="o", color=color, label=_name(label))
            for label, color in colors.items()
        ]
        ax.legend(handles=dots, **_BESIDE)
        return
    known = to_numpy(y.isfinite() if y.is_floating_point() else y >= 0) > 0
    ax.scatter(*points[:, ~known], color=_UNLABELLED, alpha=0.7, **style)
    across, up = points[:, known]
    shown = ax.scatter(across, up, c=to_numpy(y)[known], cmap="viridis", alpha=0.7, **style)
    whole = None if y.is_floating_point() else MaxNLocator(integer=True)
    without = "" if known.all() else " (grey: none)"
    ax.figure.colorbar(shown, ax=ax, label="label" + without, ticks=whole)


def _class_colors(y: Tensor) -> dict[int, Any]:
    """A colour for each class and grey for missing labels; nothing if these are no ten classes."""
    found = [] if y.is_floating_point() else y.unique().tolist()
    classes = [label for label in found if label >= 0]
    if not found or len(classes) > len(COLORS):
        return {}
    grey = {label: _UNLABELLED for label in found if label < 0}
    return {**dict(zip(classes, COLORS, strict=False)), **grey}


def _name(label: int) -> str:
    return "none" if label < 0 else str(label)


def _bins(values: Array) -> Any:
    """The edges around whole numbers, if these are few; else a number of bins."""
    low, high = values.min(), values.max()
    if (values == values.round()).all() and high - low < 100:
        return np.arange(low, high + 2) - 0.5
    return 40
