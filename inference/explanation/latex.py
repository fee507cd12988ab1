"""An explanation in LaTeX, for amsmath and amssymb and for notebooks."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyro_vae.inference.estimators import Addend, symbol

from .structure import Structure, Variable
from .unicode import unicode_of
from .values import latex_of_value

if TYPE_CHECKING:
    from .explanation import Explanation

__all__ = ["latex_of"]

_WIDE = 70  # letters in a line of terms


def latex_of(explanation: "Explanation") -> str:
    """Densities, bound and terms as one display, and sentences below it."""
    e = explanation
    rows = [*_distributions(e.structure), *_densities(e.structure), *_bound(e)]
    body = " \\\\\n".join(rows)
    display = f"\\[\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n\\]"
    said = [_escaped(f"{note[0].upper()}{note[1:]}.") for note in e.notes]
    return "\n\n".join([display, *said])


def _escaped(sentence: str) -> str:
    """A sentence whose letters between formulas mean themselves in LaTeX."""
    parts = sentence.split("$")
    words = [re.sub(r"[_#%&{}]", lambda found: f"\\{found[0]}", part) for part in parts[::2]]
    return "$".join(words[i // 2] if i % 2 == 0 else part for i, part in enumerate(parts))


def _distributions(structure: Structure) -> list[str]:
    """Each site of the model with its distribution, in the order of sampling."""
    return [_distribution(v) for v in structure.model if not v.is_factor]


def _distribution(variable: Variable) -> str:
    given = ", ".join(map(symbol, variable.parents))
    shape = r" \times ".join(map(str, variable.shape))
    kind = rf"\mathrm{{{variable.distribution}}}".replace("_", r"\_")
    left = symbol(variable.name) + (rf" \mid {given}" if given else "")
    return rf"{left} &\sim {kind}" + (rf" \quad ({shape})" if shape else "")


def _densities(structure: Structure) -> list[str]:
    rows = []
    for left, factors in structure.densities:
        lines = _in_lines([(factor, factor) for factor in factors])
        if len(factors) == 1:
            rows.append(f"& {factors[0]}")
        else:
            rows += [f"{left if i == 0 else ''} &{'= ' if i == 0 else ''}{v}" for i, v in lines]
    return rows


def _bound(e: "Explanation") -> list[str]:
    name, evidence = e.formula.symbol, e.structure.notation.evidence()
    rows = [rf"\log {evidence} &\geq {name}"] if e.is_bound else []
    if e.formula.definition:
        rows.append(f"{name} &= {e.formula.definition}")
    lines = _lines(e.formula.addends)
    rows += [f"{name if i == 0 else ''} &{'= ' if i == 0 else ''}{line}" for i, line in lines]
    rows.append(f"&= {latex_of_value(e.formula.value)}")
    if e.beside:
        rows += [rf"\textrm{{beside it}} &\quad {line}" for _, line in _lines(e.beside)]
    if e.elbo is not None and e.formula.symbol != r"\mathrm{ELBO}":
        rows.append(rf"\mathrm{{ELBO}} &= {latex_of_value(e.elbo)}")
    return rows


def _lines(addends: Iterable[Addend]) -> Iterable[tuple[int, str]]:
    """Terms with their values under them, as many in a line as fit, with the line's number."""
    terms = []
    for number, each in enumerate(addends):
        sign = "- " if each.sign < 0 else "+ " if number else ""
        term = rf"{sign}\underbrace{{{each.latex}}}_{{{latex_of_value(each.value)}}}"
        terms.append((each.latex, term))
    return _in_lines(terms)


def _in_lines(parts: Iterable[tuple[str, str]]) -> Iterable[tuple[int, str]]:
    """What is written of each part, as many in a line as fit by the parts' widths."""
    lines: list[list[str]] = [[]]
    width = 0
    for part, written in parts:
        needed = len(unicode_of(part)) + 3
        if width and width + needed > _WIDE:
            lines.append([r"\quad"])
            width = 0
        lines[-1].append(written)
        width += needed
    return enumerate(" ".join(line) for line in lines)
