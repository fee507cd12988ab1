"""What all figures share: colours, markers, widths, titles and legends that fit."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "COLORS",
    "MARKERS",
    "MATH",
    "MISSING",
    "WIDTH",
    "Array",
    "Lines",
    "add_legend",
    "add_title",
    "formula_width",
    "text_width",
    "to_numpy",
    "wrap",
]

Array: TypeAlias = NDArray[Any]
Lines: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]

COLORS = matplotlib.color_sequences["petroff10"]  # told apart by the colour-blind too
MARKERS = "os^Dv<>PX*"
MISSING = "#a8cdf0"  # pale blue, which is no grey level and none of viridis
WIDTH = 5.0  # inches: the labels can still be read at half a page's width
MATH = "stix"  # matplotlib's family of letters for formulas that stand by themselves
_TITLE_SIZE, _TEXT_SIZE = 12, 10  # points


def to_numpy(x: Tensor) -> Array:
    """The values as an array on the CPU, without gradient."""
    return x.detach().float().cpu().numpy()


def text_width(text: str, size: float = _TEXT_SIZE) -> float:
    """The inches that a line of text takes, formulas included."""
    if not text.strip():
        return 0.0
    return _width(TextPath((0, 0), text, size))


@lru_cache(maxsize=1000)  # some 5 ms a formula
def formula_width(text: str, size: float) -> float:
    """The inches that a text takes whose formulas are set in the letters of `MATH`."""
    if not text.strip():
        return 0.0
    return _width(TextPath((0, 0), text, size, prop=FontProperties(math_fontfamily=MATH)))


def _width(path: TextPath) -> float:
    """The inches between the outermost points of the outlines of a text.

    Those that bend a curve count as if they lay on it, which adds next to nothing; the extents of
    the curves themselves take ten times as long.
    """
    across = path.vertices[path.codes != TextPath.CLOSEPOLY, 0]
    return float(across.max() - across.min()) / 72 if len(across) else 0.0


def wrap(text: str, width: float, size: float = _TEXT_SIZE) -> str:
    """Breaks a text into lines of at most so many inches, never within a formula.

    A word that is wider than that is broken after a punctuation mark, or anywhere.
    """
    lines = [""]
    for word in re.findall(r"\s*(?:\$[^$]*\$|[^\s$])+", text):
        for part in _parts(word, width, size):
            if lines[-1] and text_width((lines[-1] + part).strip(), size) > width:
                lines.append("")
                part = part.lstrip()
            lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _parts(word: str, width: float, size: float) -> list[str]:
    if "$" in word or text_width(word.strip(), size) <= width:
        return [word]
    parts = re.findall(r".+?(?:[,(_=./-]|$)", word)
    return [p for part in parts for p in ([part] if text_width(part, size) <= width else part)]


def add_title(figure: Figure, title: str | None) -> None:
    """Puts a title above all panels, in as many lines as it needs, and makes the figure higher."""
    if title is None:
        return
    width, height = figure.get_size_inches()
    lines = wrap(title, width - 0.2, _TITLE_SIZE)
    figure.suptitle(lines, fontsize=_TITLE_SIZE)
    figure.set_size_inches(width, height + 0.15 + 0.2 * (1 + lines.count("\n")))


def add_legend(figure: Figure, handles: Sequence[Artist]) -> Legend:
    """Puts a legend below all panels, in columns that fit, and makes the figure higher."""
    width, height = figure.get_size_inches()
    room = width - 0.2
    names = [wrap(str(handle.get_label()), room - 0.5) for handle in handles]
    widths = [max(map(text_width, name.split("\n"))) + 0.6 for name in names]  # a line, and space
    columns = next(
        n
        for n in (3, 2, 1)
        if n == 1 or sum(max(w, default=0) for w in np.array_split(widths, n)) <= room
    )
    rows = [sum(1 + name.count("\n") for name in part) for part in np.array_split(names, columns)]
    figure.set_size_inches(width, height + 0.1 + 0.2 * max(rows))
    return figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, columnspacing=1
    )
