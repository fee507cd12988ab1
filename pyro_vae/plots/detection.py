"""How well scores tell anomalies from usual data, as a curve."""

from matplotlib.figure import Figure
from torch import Tensor

from .style import COLORS, WIDTH, add_legend, add_title, to_numpy

__all__ = ["roc_curve"]


def roc_curve(
    false_positive_rate: Tensor,
    true_positive_rate: Tensor,
    *,
    label: str = "",
    title: str | None = None,
) -> Figure:
    """Draws the share of anomalies above a threshold against that of usual data, for all of them.

    The broken line is what guessing gives.

    Args:
        false_positive_rate: (T,), rising from 0 to 1.
        true_positive_rate: (T,), likewise.
        label: What the curve is called in the legend.
        title: What stands above.

    Raises:
        ValueError: If the two are not of one length.
    """
    if false_positive_rate.dim() != 1 or false_positive_rate.shape != true_positive_rate.shape:
        raise ValueError(
            f"the rates are {tuple(false_positive_rate.shape)} and "
            f"{tuple(true_positive_rate.shape)}, but expected (T,) and (T,)"
        )
    figure = Figure(figsize=(WIDTH, WIDTH * 0.9), layout="compressed")
    ax = figure.add_subplot(
        xlabel="share of usual data above the threshold",
        ylabel="share of anomalies above the threshold",
        xlim=(0, 1),
        ylim=(0, 1.01),
    )
    ax.set_aspect("equal")
    (drawn,) = ax.plot(
        to_numpy(false_positive_rate), to_numpy(true_positive_rate), color=COLORS[0], label=label
    )
    ax.plot((0, 1), (0, 1), color="0.7", ls="--")
    if label:
        add_legend(figure, [drawn])
    add_title(figure, title)
    return figure
