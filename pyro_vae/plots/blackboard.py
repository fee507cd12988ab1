"""A blackboard: a plate diagram, densities, and a bound with the value under each term."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from .plate_diagram import PlateDiagram
from .style import COLORS, MATH, formula_width, wrap

__all__ = ["Equation", "Term", "blackboard"]

_MARGIN = 0.25  # inches
_SIZE = 14.0  # points, of formulas
_HEADING = 14.0  # points
_LINE = 0.36  # inches from one line of densities to the next
_TERMS = 0.92  # inches from one line of terms to the next
_WIDTH = 10.0  # inches, at which terms are broken into lines
_NARROW = 5.0  # inches, for sentences
_VALUE = COLORS[0]


@dataclass(frozen=True)
class Term:
    """A term of a bound: its sign, its formula, and its value, which stands under a brace."""

    sign: str
    latex: str
    value: str


@dataclass(frozen=True)
class Equation:
    """A left-hand side, and the terms that it is the sum of."""

    left: str
    terms: Sequence[Term]


def blackboard(
    title: str,
    diagram: PlateDiagram,
    densities: Sequence[str],
    lines: Sequence[str],
    equations: Sequence[Equation],
    notes: Sequence[str],
) -> Figure:
    """Draws a program and its bound.

    Args:
        title: What stands above.
        diagram: The plate diagram, on the left.
        densities: Formulas beside it.
        lines: Formulas below both.
        equations: Sums, with the value under each term.
        notes: Sentences at the bottom, with formulas between dollar signs.

    Raises:
        ValueError: If a formula is not one that matplotlib can set.
    """
    beside = max((_width_of(line) for line in densities), default=0.0)
    wide = max(map(_width_of, lines), default=0.0)
    upper_width = max(diagram.width + beside + 2 * _MARGIN, wide)
    room = max(_WIDTH - 2 * _MARGIN, upper_width)
    laid_out = [_laid_out(equation, room) for equation in equations]
    ends = [_end(row) for rows in laid_out for row in rows]
    width = max(upper_width, _NARROW, *ends) + 2 * _MARGIN
    heading = wrap(title, (width - 2 * _MARGIN) / 1.15, _HEADING)  # bold letters are wider
    said = [part for note in notes for part in wrap(note, width - 2 * _MARGIN, 9).split("\n")]
    upper = max(diagram.height, _LINE * len(densities)) + 0.25
    lower = sum(map(_height_of, lines)) + sum(_TERMS * len(rows) for rows in laid_out)
    title_height = 0.2 + 0.25 * (1 + heading.count("\n"))
    height = title_height + 0.1 + upper + lower + 0.2 * len(said) + 2 * _MARGIN
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    ax.text(_MARGIN, height - _MARGIN, heading, va="top", fontsize=_HEADING, weight="bold")
    top = height - _MARGIN - title_height
    diagram.draw(ax, _MARGIN, top - diagram.height)
    begin = diagram.width + 3 * _MARGIN
    spare = max(0.0, (diagram.height - _LINE * len(densities)) / 2)
    for i, line in enumerate(densities):
        _write(ax, begin, top - spare - _LINE * (i + 0.5), line)
    top -= upper
    for line in lines:
        _write(ax, _MARGIN, top - _height_of(line) / 2, line)
        top -= _height_of(line)
    for rows in laid_out:
        for row in rows:
            for x, piece, term in row:
                _draw_piece(ax, _MARGIN + x, top - 0.25, piece, term)
            top -= _TERMS
    for line in said:
        ax.text(_MARGIN, top, line, va="top", fontsize=9, color="0.3", math_fontfamily=MATH)
        top -= 0.2
    return figure


Piece = tuple[float, str, Term | None]  # where it begins, in inches, and what it is


def _laid_out(equation: Equation, width: float) -> list[list[Piece]]:
    """The pieces of an equation in lines of at most so many inches."""
    left = f"${equation.left}$" if equation.left else ""
    indent = _width_of(equation.left) + 0.12 if equation.left else 0.0
    rows: list[list[Piece]] = [[(0.0, left, None)]]
    x = indent
    for term in equation.terms:
        sign = f"${term.sign}$ " if term.sign else ""
        start = formula_width(sign, _SIZE) + 0.14 if sign else 0.0
        needed = start + _width_of_term(term)
        if x + needed > width and len(rows[-1]) > 1:
            rows.append([(0.0, "", None)])
            x = indent
        if sign:
            rows[-1].append((x, sign, None))
        rows[-1].append((x + start, f"${term.latex}$", term))
        x += needed + 0.12
    return rows


def _end(row: Sequence[Piece]) -> float:
    """Where a line of pieces ends, in inches."""
    x, piece, term = row[-1]
    return x + (formula_width(piece, _SIZE) if term is None else _width_of_term(term))


def _width_of_term(term: Term) -> float:
    return max(_width_of(term.latex), formula_width(term.value, 10) + 0.05)


def _width_of(latex: str) -> float:
    return formula_width(f"${latex}$", _SIZE)


def _height_of(latex: str) -> float:
    """The inches of a line; a fraction is set in full size."""
    return 0.85 if r"\dfrac" in latex else 0.45


def _write(ax: Axes, x: float, y: float, latex: str) -> None:
    ax.text(x, y, f"${latex}$", va="center_baseline", fontsize=_SIZE, math_fontfamily=MATH)


def _draw_piece(ax: Axes, x: float, y: float, piece: str, term: Term | None) -> None:
    if not piece:
        return
    if term is None:
        ax.text(x, y, piece, va="center_baseline", fontsize=_SIZE, math_fontfamily=MATH)
        return
    wide, text = _width_of_term(term), _width_of(term.latex)
    middle = x + wide / 2
    ax.text(
        middle, y, piece, ha="center", va="center_baseline", fontsize=_SIZE, math_fontfamily=MATH
    )
    if not term.value:
        return
    half = max(text, 0.3) / 2
    ax.add_artist(_brace(middle - half, middle + half, y - 0.2))
    ax.text(middle, y - 0.38, term.value, ha="center", va="top", fontsize=10, color=_VALUE)


def _brace(left: float, right: float, y: float) -> PathPatch:
    """A curly brace that opens upwards."""
    middle, bend = (left + right) / 2, min(0.07, (right - left) / 4)
    points = [
        (left, y),
        *[(left, y - bend), (left + bend / 2, y - bend)],
        (middle - bend, y - bend),
        *[(middle - bend / 4, y - bend), (middle, y - 2 * bend)],
        *[(middle + bend / 4, y - bend), (middle + bend, y - bend)],
        (right - bend / 2, y - bend),
        *[(right, y - bend), (right, y)],
    ]
    curve, line = Path.CURVE3, Path.LINETO
    codes = [Path.MOVETO, curve, curve, line, curve, curve, curve, curve, line, curve, curve]
    return PathPatch(Path(points, codes), facecolor="none", edgecolor=_VALUE, linewidth=1.0)
