"""Where latents lie: on a line or in a plane."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from .style import COLORS, WIDTH, Array, to_numpy

__all__ = ["histogram", "scatter"]


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
        labels: What the two coordinates are.
        title: What stands above.

    Raises:
        ValueError: If z is not at least two-dimensional, or y does not fit it.
    """
    if z.dim() != 2 or z.shape[1] < 2 or (y is not None and y.shape != z.shape[:1]):
        raise ValueError(
            f"z is {tuple(z.shape)} and y {None if y is None else tuple(y.shape)}; expected "
            "(N, 2 or more) and (N,) or None"
        )
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    ax = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    ax.set_aspect("equal", adjustable="datalim")
    style: dict[str, Any] = {"s": max(4, min(25, 8000 / max(1, len(z)))), "linewidths": 0}
    points = to_numpy(z[:, :2]).T
    if y is None:
        ax.scatter(*points, color=COLORS[0], alpha=0.7, **style)
    else:
        _scatter_by(ax, points, y.cpu(), style)
    if title is not None:
        ax.set_title(title)
    return figure


def histogram(
    z: Tensor, y: Tensor | None = None, *, label: str = "$z$", title: str | None = None
) -> Figure:
    """Draws how often the values of a latent of one number occur, the classes upon each other.

    Args:
        z: Latents (N,); whole numbers get a bar each.
        y: (N,) labels; up to ten classes get a colour each, others are not told apart.
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
    classes = [] if y is None else y.unique().tolist()
    if y is None or y.is_floating_point() or not 1 < len(classes) <= len(COLORS):
        parts = [to_numpy(z)]
    else:
        parts = [to_numpy(z[(y == c).to(z.device)]) for c in classes]
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    ax = figure.add_subplot(xlabel=label, ylabel="data")
    ax.hist(parts, _bins(to_numpy(z)), stacked=True, color=COLORS[: len(parts)])
    if len(parts) > 1:
        handles = [Rectangle((0, 0), 1, 1, color=color) for color in COLORS[: len(parts)]]
        places: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
        ax.legend(handles, map(str, classes), **places)
    if title is not None:
        ax.set_title(title)
    return figure


def _scatter_by(ax: Axes, points: Array, y: Tensor, style: dict[str, Any]) -> None:
    classes = y.unique().tolist()
    if y.is_floating_point() or len(classes) > len(COLORS):
        shown = ax.scatter(points[0], points[1], c=to_numpy(y), cmap="viridis", alpha=0.7, **style)
        ax.figure.colorbar(shown, ax=ax)
        return
    colors = [COLORS[classes.index(label)] for label in y.tolist()]  # in the order of the data,
    ax.scatter(*points, color=colors, alpha=0.7, **style)  # so that no class hides the others
    handles = [
        Line2D([], [], ls="", marker="o", color=color, label=str(label))
        for label, color in zip(classes, COLORS, strict=False)
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _bins(values: Array) -> Any:
    """The edges around whole numbers, if these are few; else a number of bins."""
    low, high = values.min(), values.max()
    if (values == values.round()).all() and high - low < 100:
        return np.arange(low, high + 2) - 0.5
    return 40
