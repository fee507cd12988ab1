"""What was recorded while training."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import COLORS, WIDTH

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
    for ax, keys in zip(axes, panels, strict=True):
        _draw_curves(ax, metrics, time, keys)
    axes[-1].set_xlabel(time)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if title is not None:
        figure.suptitle(title)
    return figure


def _draw_curves(
    ax: Axes, metrics: Sequence[Mapping[str, float]], time: str, keys: Sequence[str]
) -> None:
    for key, color in zip(keys, COLORS, strict=False):
        points = [(record[time], record[key]) for record in metrics if key in record]
        if points:
            marker = "o" if len(points) < 20 else None
            ax.plot(*zip(*points, strict=True), color=color, marker=marker, ms=3, label=_word(key))
    ax.set_ylabel(("loss, " if "train_loss" in keys else "") + "nats per datum")
    ax.legend(frameon=False)


def _word(key: str) -> str:
    return key.replace("_", " ")
