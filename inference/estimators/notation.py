"""How the densities of a program are written, in LaTeX, with the names of its own sites."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Notation", "SiteDensity", "coefficient", "decimal", "symbol"]

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
).split()
_MANY = 4  # names in a row, above which dots stand for those between the first and the last
_WRITTEN_OUT = 6  # densities in an importance weight, above which its sites are abbreviated


@dataclass(frozen=True)
class SiteDensity:
    """The density of one site, in the model or in the guide.

    Args:
        parents: The sites and other data that it is given.
        observed: Whether the site is observed.
        plates: Those that it stands in beside the one of the data, over which it is a product.
    """

    parents: tuple[str, ...] = ()
    observed: bool = False
    plates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notation:
    """The densities of a program, by site, each in the order of sampling.

    Its methods return LaTeX of a kind that matplotlib sets, too.

    Args:
        model: Those of p(x, z).
        guide: Those of q(z | x).
        given: What the program is given and has no density of, such as labels.
    """

    model: Mapping[str, SiteDensity]
    guide: Mapping[str, SiteDensity]
    given: tuple[str, ...] = ()

    def p(self, site: str, draw: str = "") -> str:
        """A site's density in the model; of the k-th draws if `draw` is k."""
        return self._density("p", site, self.model.get(site, SiteDensity()), draw)

    def q(self, site: str, draw: str = "") -> str:
        """A site's density in the guide, likewise."""
        return self._density("q", site, self.guide.get(site, SiteDensity()), draw)

    def log_p(self, site: str) -> str:
        """The logarithm of a density of the model, a sum over the plates within a datum."""
        return _log(self.p(site), self.model.get(site, SiteDensity()).plates)

    def log_q(self, site: str) -> str:
        """The logarithm of a density of the guide, likewise."""
        return _log(self.q(site), self.guide.get(site, SiteDensity()).plates)

    def kl(self, site: str) -> str:
        """The divergence of a site's density in the guide from that in the model."""
        plates = self.model.get(site, SiteDensity()).plates
        kl = rf"\mathrm{{KL}}({self.q(site)} \,\|\, {self.p(site)})"
        kl = _over("sum", plates) + kl
        parents = {*self.guide[site].parents, *self.model[site].parents}
        return self.mean(kl) if parents & {*self.latents} else kl

    def mean(self, value: str, *, tall: bool = False) -> str:
        """The expectation of a value over the guide's draws; of none if there are no latents.

        Args:
            value: The value.
            tall: Whether the brackets are as high as it.
        """
        left, right = (r"\left[", r"\right]") if tall else ("[", "]")
        return rf"\mathbb{{E}}_{{q}}{left}{value}{right}" if self.latents else value

    @property
    def latents(self) -> list[str]:
        """What the guide draws."""
        return [name for name, density in self.guide.items() if not density.observed]

    @property
    def observed(self) -> list[str]:
        """What the model observes."""
        return [name for name, density in self.model.items() if density.observed]

    def evidence(self) -> str:
        """The density of what is observed, such as p(x), given what the program is given."""
        return _written("p", [*map(symbol, self.observed)], [*map(symbol, self.given)])

    def joint(self, draw: str = "") -> str:
        """The product of the densities of the model, from the data up."""
        return _product([(self.p(n, draw), d.plates) for n, d in [*self.model.items()][::-1]])

    def posterior(self, draw: str = "") -> str:
        """The product of the densities of the guide."""
        return _product([(self.q(n, draw), d.plates) for n, d in self.guide.items()])

    def weight(self, draw: str = "k") -> str:
        """The importance weight of a draw, as a fraction."""
        if not self.latents:
            return self.joint()
        if len(self.model) + len(self.guide) <= _WRITTEN_OUT:
            return rf"\frac{{{self.joint(draw)}}}{{{self.posterior(draw)}}}"
        z = _abbreviated([self._draw(name, draw) for name in self.model if name in self.latents])
        x, given = [*map(symbol, self.observed)], [*map(symbol, self.given)]
        above, below = _written("p", [*x, z], given), _written("q", [z], [*x, *given])
        return rf"\frac{{{above}}}{{{below}}}"

    def _density(self, kind: str, site: str, density: SiteDensity, draw: str) -> str:
        parents = [self._draw(parent, draw) for parent in density.parents]
        if self.is_a_run(density.parents):
            parents = [_abbreviated(parents)]
        return _written(kind, [self._draw(site, draw)], parents)

    def is_a_run(self, names: Sequence[str]) -> bool:
        """Whether so many follow each other in the model or the guide that dots stand for them."""
        orders = ([*densities] for densities in (self.model, self.guide))
        places = [[o.index(n) for n in names] for o in orders if {*names} <= {*o}]
        return len(names) > _MANY and any(p == [*range(p[0], p[0] + len(p))] for p in places)

    def _draw(self, name: str, draw: str) -> str:
        return symbol(name) + (f"^{{({draw})}}" if draw and name in self.latents else "")


def symbol(name: str) -> str:
    r"""The name of a site as LaTeX: z_1 as z_{1}, theta as \theta, z_what with an upright what."""
    head, *tails = name.split("_") if name.strip("_") else [name]
    if head in _GREEK:
        head = f"\\{head}"
    elif len(head) != 1 or not head.isalpha():
        return _upright(name)
    tail = ",".join(t if len(t) == 1 or t.isdigit() else _upright(t) for t in tails if t)
    return f"{head}_{{{tail}}}" if tail else head


def coefficient(weight: object) -> str:
    """A weight as a factor; nothing for 1."""
    return "" if decimal(weight) == "1" else rf"{decimal(weight)}\,"


def decimal(value: object) -> str:
    """A number as one writes it; a tensor of one number as that number."""
    return f"{float(value):g}" if isinstance(value, int | float) else str(value)


def _upright(name: str) -> str:
    escaped = re.sub(r"[_#$%&{}]", lambda found: "\\" + found[0], name)
    return rf"\mathrm{{{escaped}}}"


def _written(kind: str, variables: Sequence[str], given: Sequence[str]) -> str:
    both = [", ".join(names) for names in (variables, given) if names]
    inside = r" \mid ".join(both)
    return f"{kind}({inside})"


def _over(operator: str, plates: Sequence[str]) -> str:
    """A sum or product over plates; nothing where there are none."""
    names = ", ".join(map(symbol, plates))
    return rf"\{operator}_{{{names}}} " if plates else ""


def _log(density: str, plates: Sequence[str]) -> str:
    return _over("sum", plates) + rf"\log {density}"


def _product(densities: Sequence[tuple[str, Sequence[str]]]) -> str:
    return r"\,".join(_over("prod", plates) + p for p, plates in densities)


def _abbreviated(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else rf"{names[0]}, \ldots, {names[-1]}"
