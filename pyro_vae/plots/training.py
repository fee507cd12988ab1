"""What was recorded while training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import COLORS, WIDTH, add_title

__all__ = ["curves"]

_PAIRS: list[Sequence[str]] = [("train_loss", "valid_loss"), ("rate", "distortion")]  # a panel each
_OF_SITE = "rate of "  # and the name of a latent site
_MOST_CURVES = 5  # of sites, as more cannot be told apart
_LEAST_RATE = 0.01  # nats, below which all rates have one colour


def curves(metrics: Sequence[Mapping[str, float]], *, title: str | None = None) -> Figure:
    """Draws what was recorded while training, in nats per datum.

    Args:
        metrics: Records with `epoch` or `step` and any of `train_loss` and `valid_loss`, which
            share a panel, and `rate` and `distortion`, which share a second one. "rate of z_1" and
            the like have a panel of their own: curves, or of more than five latent sites a heat map
            with a row a site, in their order, and the last rate beside it.
        title: What stands above.

    Raises:
        ValueError: If no record has any of these.
    """
    found = list(dict.fromkeys(key for record in metrics for key in record))
    sites = [key for key in found if key.startswith(_OF_SITE)]
    panels = [keys for keys in _PAIRS if any(key in found for key in keys)]
    rows = sites if len(sites) > _MOST_CURVES else []
    time = next((t for t in ("epoch", "step") if metrics and all(t in r for r in metrics)), None)
    if not panels or time is None:
        raise ValueError(
            f"{len(metrics)} records hold {sorted(found)}; expected "
            "'epoch' or 'step' in each, and train_loss, valid_loss, rate or distortion"
        )
    if sites and not rows:
        panels.append(sites)
    heights = [2.0] * len(panels) + ([min(0.16 * len(rows), 6.4)] if rows else [])
    figure = Figure(figsize=(WIDTH, 1.0 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    times = [record[time] for record in metrics]
    for ax, keys in zip(axes, panels, strict=False):
        _draw_curves(ax, metrics, time, keys)
    if rows:
        _draw_rates(axes[-1], metrics, times, rows)
    axes[-1].set_xlabel(time)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if min(times) == max(times):
        for ax in axes:
            ax.margins(y=0.15)  # the points stand off the corners
        axes[-1].set(xlim=(times[0] - 1, times[0] + 1), xticks=times[:1])
    add_title(figure, title)
    return figure


def _draw_curves(
    ax: Axes, metrics: Sequence[Mapping[str, float]], time: str, keys: Sequence[str]
) -> None:
    early, late = [], []  # of these the axis has to show the late ones in any case
    for key, color in zip(keys, COLORS, strict=False):
        points = [(record[time], record[key]) for record in metrics if key in record]
        if not points:
            continue
        finite = [value for _, value in points if math.isfinite(value)]
        size = 6 if len(points) == 1 else 3
        style: Any = {"color": color, "marker": "o" if len(points) < 20 else None, "ms": size}
        ax.plot(*zip(*points, strict=True), label=_word(key), **style)
        lost = [t for t, value in points if not math.isfinite(value)]
        if lost:
            where: Any = {"transform": ax.get_xaxis_transform(), "clip_on": False}
            ax.plot(lost, [0] * len(lost), "x", color=color, label="not finite", **where)
        early += finite[: len(finite) // 10]
        late += finite[len(finite) // 10 :]
    _focus(ax, early, late)
    if keys[0].startswith(_OF_SITE):
        ax.set_ylabel("rate, nats per datum")
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        return
    ax.set_ylabel(("loss, " if "train_loss" in keys else "") + "nats per datum")
    ax.legend(frameon=False)


def _draw_rates(
    ax: Axes, metrics: Sequence[Mapping[str, float]], times: Sequence[float], sites: Sequence[str]
) -> None:
    """A row of colours for each latent site, with its last rate beside it."""
    rates = np.array([[record.get(key, math.nan) for record in metrics] for key in sites])
    rates[~np.isfinite(rates)] = math.nan
    scale = LogNorm(_LEAST_RATE, max(np.nanmax(rates, initial=0), 10 * _LEAST_RATE))
    edges = [times[0] - (times[1] - times[0] if len(times) > 1 else 1), *times]
    colors = ax.pcolormesh(
        np.array(edges) + (times[-1] - edges[-2]) / 2,
        np.arange(len(sites) + 1),
        np.maximum(rates, _LEAST_RATE),
        norm=scale,
        cmap="viridis",
    )
    size = "x-small"
    named = range(0, len(sites), math.ceil(len(sites) / 40))
    places = [i + 0.5 for i in named]
    ax.set_yticks(places, [sites[i].removeprefix(_OF_SITE) for i in named], fontsize=size)
    ax.invert_yaxis()
    last = ax.secondary_yaxis("right")
    numbers = [rates[i, -1] for i in named]
    last.set_yticks(places, [f"{x:.2f}" if x < 1 else f"{x:.3g}" for x in numbers])
    last.tick_params(length=0, labelsize=size)
    ax.annotate(" last", (1, 1.02), xycoords="axes fraction", fontsize=size)
    ax.figure.colorbar(colors, ax=ax, label="rate, nats per datum")


def _focus(ax: Axes, early: Sequence[float], late: Sequence[float]) -> None:
    """Leaves the first values out where they would press all others onto one line."""
    if not late:
        return
    low, high = min(late), max(late)
    room = 0.1 * (high - low)
    outside = [value for value in early if not low - room <= value <= high + room]
    if low == high:
        ax.margins(y=0.3)
    elif outside and max(*early, high) - min(*early, low) > 20 * (high - low):
        ax.set_ylim(low - room, high + room)
        furthest = max(outside, key=lambda value: abs(value - low))
        text: Any = {"xycoords": "axes fraction", "fontsize": "small", "color": "0.4"}
        ax.annotate(f"not shown: first values to {furthest:.3g}", (0.03, 0.9), **text)


def _word(key: str) -> str:
    return key.removeprefix(_OF_SITE) if key.startswith(_OF_SITE) else key.replace("_", " ")
