"""What depends on what in a program: its sites with their parents, plates and distributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.factors import is_training_factor
from pyro_vae.inference.estimators import Notation, SiteDensity, symbol
from pyro_vae.inference.terms import (
    data_plate,
    inner,
    is_deterministic,
    is_factor,
    sample_sites,
    trace_guide,
    trace_model,
)
from pyro_vae.program import Program

from .provenance import Provenance

__all__ = ["Structure", "Variable", "structure_of"]

_MANY = 5  # variables in one density


@dataclass(frozen=True)
class Variable:
    """A site of the model or the guide.

    Args:
        name: Its name.
        parents: The sites and other data that its distribution depends on directly.
        observed: Whether it is observed.
        is_factor: Whether it is a `pyro.factor`, which has no distribution.
        distribution: The class of its distribution.
        shape: The event shape of that.
        plates: Those that it stands in, the outermost first.
    """

    name: str
    parents: tuple[str, ...]
    observed: bool
    is_factor: bool
    distribution: str
    shape: tuple[int, ...]
    plates: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """The graph of a program: a plate diagram without the drawing.

    Args:
        model: The sites of the model, in the order of sampling.
        guide: Those of the guide.
        plates: The sizes of all plates, by name.
        data: The name of the plate that numbers the data; None where there is none.
        given: What the program is given and observes at no site, such as labels.
        training_factors: The names of terms that stand beside the densities.
    """

    model: tuple[Variable, ...]
    guide: tuple[Variable, ...]
    plates: Mapping[str, int]
    data: str | None
    given: tuple[str, ...]
    training_factors: tuple[str, ...] = ()

    @property
    def notation(self) -> Notation:
        """How the densities are written."""
        model, guide = (
            {v.name: SiteDensity(v.parents, v.observed, self._inner(v)) for v in variables}
            for variables in (self.model, self.guide)
        )
        return Notation(model, guide, self.given)

    @property
    def densities(self) -> list[tuple[str, list[str]]]:
        """The joint densities of model and guide, and their densities of the sites, in LaTeX."""
        of = self.notation
        given = [symbol(name) for name in self.given]
        x, z = [symbol(name) for name in of.observed], [symbol(name) for name in of.latents]
        joint = [(_joint("p", [*x, *z], given), of.joint())]
        posterior = [(_joint("q", z, [*x, *given]), of.posterior())] if z else []
        return [(left, product.split(r"\,")) for left, product in [*joint, *posterior]]

    def _inner(self, variable: Variable) -> tuple[str, ...]:
        """The plates of a site within one datum."""
        if self.data not in variable.plates:
            return variable.plates
        return tuple(plate for plate in variable.plates if plate != self.data)


def _joint(kind: str, variables: Sequence[str], given: Sequence[str]) -> str:
    """A joint density of many variables, of which the first and the last are named."""
    if len(variables) > _MANY:
        variables = [*variables[:2], r"\ldots", variables[-1]]
    condition = rf" \mid {', '.join(given)}" if given else ""
    return f"{kind}({', '.join(variables)}{condition})"


def structure_of(program: Program, batch: Mapping[str, Tensor]) -> Structure:
    """The structure of a program, by one run on a batch of data in which each value is followed.

    Args:
        program: The program.
        batch: The arguments of model and guide, by name, in their order.
    """
    with Provenance(batch) as followed:
        guide = trace_guide(program.guide, followed.arguments, {})
        model = trace_model(program.model, guide, followed.arguments, {})
    guide, model = map(prune_subsample_sites, (guide, model))
    rows = len(next(iter(batch.values())))
    data = data_plate(sample_sites(model), rows)
    names = {site["name"] for site in sample_sites(model)}
    given = _Given.of(followed, names)
    sites = [*sample_sites(model), *sample_sites(guide)]
    variables = _variables(model, followed, given), _variables(guide, followed, given)
    parents = {parent for part in variables for v in part for parent in v.parents}
    return Structure(
        *variables,
        plates={f.name: f.size for site in sites for f in site["cond_indep_stack"]},
        data=None if data is None else data.name,
        given=tuple(name for name in batch if name in parents and name not in names),
        training_factors=tuple(dict.fromkeys(s["name"] for s in sites if is_training_factor(s))),
    )


@dataclass(frozen=True)
class _Given:
    """What stands for each argument in a density: the sites that observe it, or its own name."""

    names: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, followed: Provenance, sites: set[str]) -> "_Given":
        observing = {name: followed.observing(name) for name in followed.batch}
        return cls({n: (n,) if n in sites else o or (n,) for n, o in observing.items()})

    def named(self, sources: Any, site: str) -> list[str]:
        names: list[str] = []
        order = [*self.names]  # sources are a set, whose order is none
        in_order = [s for name in order for s in sources if s == ("argument", name)]
        for kind, name in [*sorted(s for s in sources if s[0] == "site"), *in_order]:
            names += self.names[name] if kind == "argument" else [name]
        return [name for name in dict.fromkeys(names) if name != site]


def _variables(trace: Any, followed: Provenance, given: _Given) -> tuple[Variable, ...]:
    sites = [site for site in sample_sites(trace) if _is_drawn(site)]
    order = [site["name"] for site in sites]
    variables = []
    for site in sites:
        parents = given.named(followed.of(site), site["name"])
        # In the order of sampling, what is given last.
        parents.sort(key=lambda name: order.index(name) if name in order else len(order))
        variables.append(_variable(site, tuple(parents)))
    return tuple(variables)


def _is_drawn(site: Mapping[str, Any]) -> bool:
    """Whether a site has a place in the diagram, and is not a name for a value alone."""
    if is_deterministic(site) or is_training_factor(site):
        return False
    return not site["infer"].get("is_auxiliary")


def _variable(site: Mapping[str, Any], parents: tuple[str, ...]) -> Variable:
    fn = site["fn"]
    frames = sorted(site["cond_indep_stack"], key=lambda frame: frame.dim or 0)
    return Variable(
        name=site["name"],
        parents=parents,
        observed=bool(site["is_observed"]),
        is_factor=is_factor(site),
        distribution=type(inner(fn)).__name__,
        shape=tuple(fn.event_shape),
        plates=tuple(frame.name for frame in frames),
    )
