"""Gradients of estimators against the number of particles."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from .style import COLORS, MARKERS, WIDTH, Lines, add_legend, add_title

__all__ = ["gradient_variance", "snr"]


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
        _mark(axes[0])
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
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
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
    add_legend(figure, [Line2D([], [], label=name, **style) for name, style in styles.items()])
    _mark(axes[0])
    add_title(figure, title)
    return figure, list(axes)


def _mark(ax: Axes) -> None:
    """Puts at least two numbers beside a log axis, however few decades it spans."""
    low, high = ax.get_ylim()
    if math.floor(math.log10(high)) > math.ceil(math.log10(low)):
        return  # powers of ten do
    subs = (1, 2, 5) if high / low > 5 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    locator = LogLocator(subs=subs) if high / low > 2 else MaxNLocator(4)
    ax.yaxis.set_major_locator(locator)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def _line_style(index: int, count: int) -> dict[str, Any]:
    """The style of one line among others, thinner than those before it, which it may lie upon."""
    colors = [COLORS[i] for i in (0, 1, 2, 4, 5, 6, 7, 9)]  # without the greys
    rest = 1 - index / max(count - 1, 1)
    return {
        "color": colors[index % len(colors)],
        "marker": MARKERS[index % len(MARKERS)],
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
