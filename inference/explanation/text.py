"""An explanation as text for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pyro_vae.inference.estimators import Addend

from .structure import Structure, Variable
from .unicode import in_text, unicode_of
from .values import value_of

if TYPE_CHECKING:
    from .explanation import Explanation

__all__ = ["text_of"]

_WIDE = 96  # columns
_LEGEND = "○ latent   ● observed   ← depends on, in the model   ⇠ in the guide"


def text_of(explanation: "Explanation") -> str:
    """The plate diagram, the densities, the bound and its terms, and sentences on them."""
    e = explanation
    said = [in_text(note) for note in e.notes]
    parts = [[e.title, *diagram(e.structure)], densities(e.structure), bound(e), said]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def diagram(structure: Structure) -> list[str]:
    """The sites in boxes that are their plates, each with what it depends on."""
    guide = {variable.name: variable for variable in structure.guide}
    rows: list[tuple[Sequence[str], Sequence[str]]] = [
        (_plates_of_given(structure), ("◇", name, "given")) for name in structure.given
    ]
    for variable in structure.model:
        row = _row(structure, variable, guide.get(variable.name))
        rows.append((variable.plates, row))
    alone = [v for v in structure.guide if v.name not in {m.name for m in structure.model}]
    rows += [
        (v.plates, ("○", v.name, "of the guide alone", "", *_of_guide(structure, v))) for v in alone
    ]
    lines = _aligned([row for _, row in rows])
    boxed = _boxes([(plates, line) for (plates, _), line in zip(rows, lines, strict=True)])
    sizes = structure.plates
    width = max(_width(boxed), 30)
    legend = _LEGEND + ("   ■ factor" if any(v.is_factor for v in structure.model) else "")
    legend += "   ◇ given" if structure.given else ""
    return [*_drawn(boxed, sizes, width), legend]


def densities(structure: Structure) -> list[str]:
    """The densities of model and guide."""
    lines = []
    for left, factors in structure.densities:
        products = [unicode_of(factor) for factor in factors]
        if len(products) == 1:
            lines.append(products[0])
            continue
        start = f"{unicode_of(left)} = "
        lines += _wrapped(start, products)
    return lines


def _wrapped(start: str, parts: Iterable[str]) -> list[str]:
    """Parts behind a start, in lines that begin below each other."""
    lines = [start]
    for part in parts:
        if len(lines[-1]) + len(part) > _WIDE and lines[-1].strip():
            lines.append(" " * len(start))
        lines[-1] += f"{part} "
    return [line.rstrip() for line in lines]


def bound(e: "Explanation") -> list[str]:
    """The bound, with its terms under each other and their values beside them."""
    name = unicode_of(e.formula.symbol)
    evidence = unicode_of(e.structure.notation.evidence())
    looser = f"{name} is neither the ELBO nor a tighter bound on log {evidence}"
    lines = [f"log {evidence} ≥ {name}" if e.is_bound else looser]
    if e.formula.definition:
        lines.append(f"{name} = {unicode_of(e.formula.definition)}")
    table = [*_terms(e.formula.addends), ("=", name, value_of(e.formula.value))]
    if e.beside:
        table += _terms(e.beside)
        table.append(("=", "what is climbed", value_of(e.climbed)))
    if e.elbo is not None:
        table.append((" ", "the ELBO of the same draws", value_of(e.elbo)))
    wide = max(len(term) for _, term, _ in table)
    right = max(len(value.partition(" ±")[0]) for *_, value in table)
    for sign, term, value in table:
        mean, plus, error = value.partition(" ±")
        lines.append(f"  {sign} {term.ljust(wide)}  {mean.rjust(right)}{plus}{error}")
    return lines


def _terms(addends: Iterable[Addend]) -> list[tuple[str, str, str]]:
    return [("+" if a.sign > 0 else "-", unicode_of(a.latex), value_of(a.value)) for a in addends]


def _row(structure: Structure, variable: Variable, guide: Variable | None) -> tuple[str, ...]:
    mark = "■" if variable.is_factor else "●" if variable.observed else "○"
    of_guide = _of_guide(structure, guide) if guide else ()
    return (mark, variable.name, _kind(variable), _parents(structure, "←", variable), *of_guide)


def _parents(structure: Structure, arrow: str, variable: Variable) -> str:
    names = variable.parents
    if structure.notation.is_a_run(names):
        names = (names[0], "…", names[-1])
    return f"{arrow} {', '.join(names)}" if names else ""


def _kind(variable: Variable) -> str:
    if variable.is_factor:
        return "a factor"
    return f"{variable.distribution} {variable.shape}" if variable.shape else variable.distribution


def _of_guide(structure: Structure, variable: Variable) -> tuple[str, str]:
    return f"guide: {variable.distribution}", _parents(structure, "⇠", variable)


def _plates_of_given(structure: Structure) -> tuple[str, ...]:
    return (structure.data,) if structure.data else ()


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, with each column as wide as its widest cell."""
    columns = max(map(len, rows), default=0)
    full = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in full]


Boxed = list["str | tuple[str, Boxed]"]  # lines, and plates with what is in them


def _boxes(lines: Sequence[tuple[Sequence[str], str]]) -> Boxed:
    """Lines sorted into their plates, each plate where its first line is."""
    boxed: Boxed = []
    inside: dict[str, list[tuple[Sequence[str], str]]] = {}
    for plates, line in lines:
        if not plates:
            boxed.append(line)
        elif plates[0] in inside:
            inside[plates[0]].append((plates[1:], line))
        else:
            inside[plates[0]] = [(plates[1:], line)]
            boxed.append(plates[0])
            boxed[-1] = (plates[0], [])
    return [part if isinstance(part, str) else (part[0], _boxes(inside[part[0]])) for part in boxed]


def _width(boxed: Boxed) -> int:
    """How wide the lines are with their boxes."""
    return max(len(part) if isinstance(part, str) else 4 + _width(part[1]) for part in boxed)


def _drawn(boxed: Boxed, sizes: Mapping[str, int], width: int) -> list[str]:
    lines = []
    for part in boxed:
        if isinstance(part, str):
            lines.append(part)
            continue
        plate, inside = part
        title = f"─ {plate}: {sizes[plate]:,} "
        lines.append(f"╭{title.ljust(width - 2, '─')}╮")
        lines += [f"│ {line.ljust(width - 4)} │" for line in _drawn(inside, sizes, width - 4)]
        lines.append(f"╰{'─' * (width - 2)}╯")
    return lines
