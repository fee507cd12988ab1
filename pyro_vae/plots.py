"""Plots: tensors in, matplotlib figures out, without pyplot and its global state.

Images are (C, H, W) with one or three channels, shown from 0 (black) to 1 (white) and clipped to
that. Data of any other shape are shown as bars of grey levels from their smallest value to their
largest.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "curves",
    "gradient_variance",
    "grid",
    "histogram",
    "interpolation",
    "manifold",
    "pairs",
    "scatter",
    "snr",
]

Array: TypeAlias = NDArray[Any]
Lines: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]

_COLORS = matplotlib.color_sequences["petroff10"]  # told apart by the colour-blind too
_MARKERS = "os^Dv<>PX*"
_MOST_PAIRS = 50  # five rows of ten, whose labels still stand apart
_WIDTH = 5.0  # inches: the labels can still be read at half a page's width


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


def curves(metrics: Sequence[Mapping[str, float]], *, title: str | None = None) -> Figure:
    """Draws what was recorded while training, in nats per datum.

    Args:
        metrics: Records with `epoch` or `step` and any of `train_loss` and `valid_loss`, which
            share a panel, and `rate` and `distortion`, which share a second one.
        title: What stands above.

    Raises:
        ValueError: If no record has any of these.
    """
    pairs_of_keys = [("train_loss", "valid_loss"), ("rate", "distortion")]
    panels = [
        keys for keys in pairs_of_keys if any(k in record for k in keys for record in metrics)
    ]
    time = next((t for t in ("epoch", "step") if metrics and all(t in r for r in metrics)), None)
    if not panels or time is None:
        raise ValueError(
            f"{len(metrics)} records hold {sorted({k for r in metrics for k in r})}; expected "
            "'epoch' or 'step' in each, and train_loss, valid_loss, rate or distortion"
        )
    figure = Figure(figsize=(_WIDTH, 1.0 + 2.0 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for ax, keys in zip(axes, panels, strict=True):
        _draw_curves(ax, metrics, time, keys)
    axes[-1].set_xlabel(time)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if title is not None:
        figure.suptitle(title)
    return figure


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
    figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
    ax = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    ax.set_aspect("equal", adjustable="datalim")
    style: dict[str, Any] = {"s": max(4, min(25, 8000 / max(1, len(z)))), "linewidths": 0}
    points = _numpy(z[:, :2]).T
    if y is None:
        ax.scatter(*points, color=_COLORS[0], alpha=0.7, **style)
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
    if y is None or y.is_floating_point() or not 1 < len(classes) <= len(_COLORS):
        parts = [_numpy(z)]
    else:
        parts = [_numpy(z[(y == c).to(z.device)]) for c in classes]
    figure = Figure(figsize=(_WIDTH, 3.5), layout="constrained")
    ax = figure.add_subplot(xlabel=label, ylabel="data")
    ax.hist(parts, _bins(_numpy(z)), stacked=True, color=_COLORS[: len(parts)])
    if len(parts) > 1:
        handles = [Rectangle((0, 0), 1, 1, color=color) for color in _COLORS[: len(parts)]]
        places: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
        ax.legend(handles, map(str, classes), **places)
    if title is not None:
        ax.set_title(title)
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
        ax.add_patch(Rectangle((left, 0), 1, rows, fill=False, ec=_COLORS[1], lw=2, clip_on=False))
    ax.set_xticks([0.5, steps - 0.5], ["data", "data"])
    return figure


def snr(
    panels: Mapping[str, Lines], *, floor: float | None = None, title: str | None = None
) -> Figure:
    """Draws signal-to-noise ratios of gradients against the number of particles, on log axes.

    Grey lines show the slopes 1/2 and -1/2, those of a gradient that gains from more particles
    and of one that drowns in its noise (Rainforth et al., 2018, https://arxiv.org/abs/1802.04537).

    Args:
        panels: Points (K, ratio) of each estimator by its name, and these by the panel's name.
        floor: What a gradient without signal would show; what lies below is shaded.
        title: What stands above.

    Raises:
        ValueError: If there is nothing to show on log axes.
    """
    slopes = {r"$\sqrt{K}$": 0.5, r"$1/\sqrt{K}$": -0.5}
    figure, axes = _against_particles(panels, "signal-to-noise ratio", slopes, title)
    if floor is not None:
        low, high = axes[0].get_ylim()  # which all panels share
        for ax in axes:
            ax.axhspan(1e-30, floor, color="0.9", lw=0, zorder=0)  # log axes have no 0
        axes[0].set_ylim(min(low, floor / 1.5), high)
    return figure


def gradient_variance(panels: Mapping[str, Lines], *, title: str | None = None) -> Figure:
    """Draws variances of gradients against the number of particles, on log axes.

    A grey line shows the slope -1, that of an average over particles.

    Args:
        panels: Points (K, variance) of each estimator by its name, and these by the panel's name.
        title: What stands above.

    Raises:
        ValueError: If there is nothing to show on log axes.
    """
    return _against_particles(panels, "variance of the gradient", {"$1/K$": -1.0}, title)[0]


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
    wide = min(_WIDTH - labels, columns)  # inches
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


def _against_particles(
    panels: Mapping[str, Lines], label: str, slopes: Mapping[str, float], title: str | None
) -> tuple[Figure, list[Axes]]:
    """A panel each, side by side, with one legend below."""
    positive = {
        panel: {name: [p for p in points if min(p) > 0] for name, points in lines.items()}
        for panel, lines in panels.items()
    }
    names = list(dict.fromkeys(name for lines in positive.values() for name in lines))
    if not any(points for lines in positive.values() for points in lines.values()):
        raise ValueError("there are no positive values to show on log axes")
    styles = {name: _line_style(i, len(names)) for i, name in enumerate(names)}
    size = (_WIDTH, 2.7 + 0.2 * math.ceil(len(names) / 3))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(positive), sharey=True, squeeze=False)[0]
    for ax, (panel, lines) in zip(axes, positive.items(), strict=True):
        ax.set(xscale="log", yscale="log", title=panel, xlabel="particles $K$")
        points = [point for line in lines.values() for point in line]
        ticks = sorted({k for k, _ in points})
        ticks = ticks[:: math.ceil(len(ticks) / 4)]  # more labels touch each other in two panels
        ax.set_xticks(ticks, [f"{k:g}" for k in ticks])
        ax.minorticks_off()
        _draw_slopes(ax, points, slopes)
        for name, line in lines.items():
            ax.plot([k for k, _ in line], [value for _, value in line], **styles[name])
    axes[0].set_ylabel(label)
    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    if title is not None:
        figure.suptitle(title)
    return figure, list(axes)


def _line_style(index: int, count: int) -> dict[str, Any]:
    """The style of one line among others, thinner than those before it, which it may lie upon."""
    colors = [_COLORS[i] for i in (0, 1, 2, 4, 5, 6, 7, 9)]  # without the greys
    rest = 1 - index / max(count - 1, 1)
    return {
        "color": colors[index % len(colors)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "ms": 4 + 3 * rest,
        "lw": 1 + 1.5 * rest,
    }


def _draw_slopes(
    ax: Axes, points: Sequence[tuple[float, float]], slopes: Mapping[str, float]
) -> None:
    """Thin lines from the middle of the values at the least K, with names to the right."""
    first, last = (f((k for k, _ in points), default=1) for f in (min, max))
    if first == last:
        return
    logs = [math.log(value) for k, value in points if k == first]
    start = math.exp(sum(logs) / len(logs))
    for name, slope in slopes.items():
        end = start * (last / first) ** slope
        ax.plot([first, last], [start, end], color="0.6", lw=0.7, zorder=1)
        where: Any = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        text: Any = {"ha": "left", "va": "center", "color": "0.4", "fontsize": "small"}
        ax.annotate(name, (1, end), xytext=(3, 0), annotation_clip=False, **where, **text)


def _bins(values: Array) -> Any:
    """The edges around whole numbers, if these are few; else a number of bins."""
    low, high = values.min(), values.max()
    if (values == values.round()).all() and high - low < 100:
        return np.arange(low, high + 2) - 0.5
    return 40


def _heat_map(x: Tensor, title: str | None) -> Figure:
    figure = Figure(figsize=(_WIDTH, 3.5), layout="constrained")
    ax = figure.add_subplot(xlabel="dimension", ylabel="item")
    shown = ax.imshow(_numpy(x.flatten(1)), aspect="auto", cmap="viridis", interpolation="nearest")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(shown, label="value")
    if title is not None:
        ax.set_title(title)
    return figure


def _draw_curves(
    ax: Axes, metrics: Sequence[Mapping[str, float]], time: str, keys: Sequence[str]
) -> None:
    for key, color in zip(keys, _COLORS, strict=False):
        points = [(record[time], record[key]) for record in metrics if key in record]
        if points:
            marker = "o" if len(points) < 20 else None
            ax.plot(*zip(*points, strict=True), color=color, marker=marker, ms=3, label=_word(key))
    ax.set_ylabel(("loss, " if "train_loss" in keys else "") + "nats per datum")
    ax.legend(frameon=False)


def _word(key: str) -> str:
    return key.replace("_", " ")


def _scatter_by(ax: Axes, points: Array, y: Tensor, style: dict[str, Any]) -> None:
    classes = y.unique().tolist()
    if y.is_floating_point() or len(classes) > len(_COLORS):
        shown = ax.scatter(points[0], points[1], c=_numpy(y), cmap="viridis", alpha=0.7, **style)
        ax.figure.colorbar(shown, ax=ax)
        return
    colors = [_COLORS[classes.index(label)] for label in y.tolist()]  # in the order of the data,
    ax.scatter(*points, color=colors, alpha=0.7, **style)  # so that no class hides the others
    handles = [
        Line2D([], [], ls="", marker="o", color=color, label=str(label))
        for label, color in zip(classes, _COLORS, strict=False)
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _pictures(x: Tensor) -> Array:
    """Turns (N, *x_shape) into (N, H, W, C) between 0 and 1."""
    if _is_image(x.shape[1:]):
        return np.moveaxis(_numpy(x), 1, -1).clip(0, 1)
    bars = _numpy(x.flatten(1))[:, :, None, None]
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


def _numpy(x: Tensor) -> Array:
    return x.detach().float().cpu().numpy()
