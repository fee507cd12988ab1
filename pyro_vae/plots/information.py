"""What each code says of each factor of the data."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import WIDTH, Array, add_title

__all__ = ["information"]


def information(
    found: Array, codes: Sequence[str], factors: Sequence[str], *, title: str | None = None
) -> Figure:
    """Draws the mutual information of codes and factors: a row a code, a column a factor.

    Of disentangled codes each row and each column has one dark square at most.

    Args:
        found: In nats, (D, K).
        codes: What the rows are called.
        factors: What the columns are called.
        title: What stands above.

    Raises:
        ValueError: If there are not as many names as rows and columns.

    Example:
        >>> figure = information(np.eye(2), ["z[0]", "z[1]"], ["shape", "scale"])
    """
    if found.shape != (len(codes), len(factors)) or not found.size:
        raise ValueError(
            f"the information has shape {found.shape}, but there are {len(codes)} codes and "
            f"{len(factors)} factors; give a number for each pair"
        )
    figure = Figure(figsize=(WIDTH, 1.0 + 0.3 * len(codes)), layout="constrained")
    ax = figure.add_subplot()
    highest = max(float(found.max()), 1e-9)
    image = ax.imshow(found, aspect="auto", cmap="Blues", vmin=0, vmax=highest)
    for (row, column), value in np.ndenumerate(found):
        color = "white" if value > 0.6 * highest else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(range(len(factors)), factors)
    ax.set_yticks(range(len(codes)), codes)
    figure.colorbar(image, ax=ax, label="nats")
    add_title(figure, title)
    return figure
