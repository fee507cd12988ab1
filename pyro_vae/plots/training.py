"""What was recorded while training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import COLORS, WIDTH, add_title

__all__ = ["curves"]


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
    figure = Figure(figsize=(WIDTH, 1.0 + 2.0 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    times = [record[time] for record in metrics]
    for ax, keys in zip(axes, panels, strict=True):
        _draw_curves(ax, metrics, time, keys)
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
    ax.set_ylabel(("loss, " if "train_loss" in keys else "") + "nats per datum")
    ax.legend(frameon=False)


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
    return key.replace("_", " ")
