"""What each layer of a hierarchy tells of a datum."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from .style import COLORS, WIDTH, add_title

__all__ = ["rates"]


def rates(found: Mapping[str, Mapping[str, float]], *, title: str | None = None) -> Figure:
    """Draws the rate of each latent as a bar, for several programs side by side.

    A layer that has collapsed has no bar.

    Args:
        found: For each program, by its name, the rate of each latent in nats, by the latent's name;
            in the order in which they are to stand.
        title: What stands above.

    Raises:
        ValueError: If there are no rates, or the programs have other latents.

    Example:
        >>> ladder, none = {"z_2": 5.0, "z_1": 9.0}, {"z_2": 0.0, "z_1": 12.0}
        >>> figure = rates({"a ladder": ladder, "none": none})
    """
    names = list(next(iter(found.values()), {}))
    if not names or any(list(each) != names for each in found.values()):
        raise ValueError(
            f"the latents are {[list(each) for each in found.values()]}, but must be the same of "
            "each program, one or more"
        )
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    ax = figure.add_subplot(ylabel="rate, in nats per datum")
    width = 0.8 / len(found)
    for i, (program, rate) in enumerate(found.items()):
        places = [j + (i - (len(found) - 1) / 2) * width for j in range(len(names))]
        bars = ax.bar(places, list(rate.values()), width, color=COLORS[i], label=program)
        ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    ax.set_xticks(range(len(names)), names)
    ax.margins(y=0.12)
    ax.legend(frameon=False, loc="upper left")
    add_title(figure, title)
    return figure
