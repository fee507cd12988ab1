"""An explanation as a picture."""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pyro_vae.inference.estimators import Addend, symbol
from pyro_vae.plots import Equation, Node, PlateDiagram, Term, blackboard

from .structure import Structure, Variable
from .unicode import unicode_of
from .values import value_of

if TYPE_CHECKING:
    from .explanation import Explanation

__all__ = ["picture_of"]

_ELBO = r"\mathrm{the\ ELBO\ of\ the\ same\ draws}"
_MANY = 3  # sites in a row, above which dots stand for those between the first and the last
_WIDE = 90  # letters in a line of densities


def picture_of(explanation: "Explanation") -> Figure:
    """The plate diagram, the densities beside it, and the bound with its values below."""
    e = explanation
    diagram = diagram_of(e.structure)
    notes = ["solid arrows are the model's, dashed ones the guide's", *e.notes]
    if diagram.thinned:
        notes.append("of the arrows those are left out that go a longer way as well")
    products = [line for left, factors in e.structure.densities for line in _lines(left, factors)]
    return blackboard(
        e.title, diagram, [*_distributions(e.structure), *products], _bound(e), _equations(e), notes
    )


def diagram_of(structure: Structure) -> PlateDiagram:
    """The plate diagram of a program: the guide's arrows are dashed."""
    nodes = {name: _given(structure, name) for name in structure.given}
    nodes |= {v.name: _node(v) for v in structure.model}
    nodes |= {v.name: _node(v) for v in structure.guide if v.name not in nodes}
    arrows, dashed = (
        [(parent, v.name) for v in variables for parent in v.parents if parent in nodes]
        for variables in (structure.model, structure.guide)
    )
    used = {plate for node in nodes.values() for plate in node.plates}
    plates = {name: f"{name}: {size:,}" for name, size in structure.plates.items() if name in used}
    return PlateDiagram(nodes, arrows, dashed, plates)


def _node(variable: Variable) -> Node:
    kind = "factor" if variable.is_factor else "observed" if variable.observed else "latent"
    return Node(f"${symbol(variable.name)}$", kind, variable.plates)


def _given(structure: Structure, name: str) -> Node:
    return Node(f"${symbol(name)}$", "given", (structure.data,) if structure.data else ())


def _distributions(structure: Structure) -> list[str]:
    """The distribution of each site, of many in a row that are alike of all together."""
    variables = [v for v in structure.model if not v.is_factor]
    lines = []
    for _, group in itertools.groupby(variables, lambda v: (v.distribution, v.shape)):
        alike = [*group]
        names = [symbol(v.name) for v in alike]
        if len(names) > _MANY:
            lines.append(_distribution(rf"{names[0]}, \ldots, {names[-1]}", alike[0]))
        else:
            lines += [_distribution(name, v) for name, v in zip(names, alike, strict=True)]
    return lines


def _distribution(names: str, variable: Variable) -> str:
    sizes = r" \times ".join(map(str, variable.shape))
    shape = rf"\;({sizes})" if sizes else ""
    kind = variable.distribution.replace("_", r"\_")
    return rf"{names} \sim \mathrm{{{kind}}}{shape}"


def _lines(left: str, factors: Sequence[str]) -> list[str]:
    """A joint density as a product, in lines that are not too long."""
    if len(factors) == 1:
        return [factors[0]]
    lines = [f"{left} ="]
    for factor in factors:
        if len(unicode_of(lines[-1] + factor)) > _WIDE:
            lines.append(r"\quad")
        lines[-1] += rf"\; {factor}"
    return lines


def _bound(e: "Explanation") -> list[str]:
    name, evidence = e.formula.symbol, e.structure.notation.evidence()
    lines = [rf"\log {evidence} \geq {name}"] if e.is_bound else []
    definition = e.formula.definition.replace(r"\frac", r"\dfrac")
    return [*lines, f"{name} = {definition}"] if definition else lines


def _equations(e: "Explanation") -> list[Equation]:
    name = e.formula.symbol
    total = Term("=", name, value_of(e.formula.value))
    equations = [Equation(f"{name} =", [*_terms(e.formula.addends), total])]
    if e.beside:
        equations.append(Equation(r"\mathrm{climbed\ beside\ it:}", _terms(e.beside)))
    if e.elbo is not None:
        equations.append(Equation("", [Term("", _ELBO, value_of(e.elbo))]))
    return equations


def _terms(addends: Iterable[Addend]) -> list[Term]:
    return [
        Term("-" if each.sign < 0 else "+" if number else "", each.latex, value_of(each.value))
        for number, each in enumerate(addends)
    ]
