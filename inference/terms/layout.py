"""Where particles and data stand among the batch dimensions of a program's sites."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pyro
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import constraints

from .plates import PARTICLES
from .runs import Run, sample_sites

__all__ = ["Layout", "in_particles", "support_of"]

Site = Mapping[str, Any]


def in_particles(
    function: Callable[..., Any], num_particles: int, dim: int | None
) -> Callable[..., Any]:
    """The function in a plate of particles, if there are several."""
    if num_particles == 1:
        return function
    return pyro.plate(PARTICLES, num_particles, dim=dim)(function)


@dataclass(frozen=True)
class Layout:
    """Which batch dimensions of a site are particles and data, to read it as (K, N).

    Args:
        num_particles: K.
        particle_dim: The batch dimension of the particles; None for a single one.
        data: The frame of the data plate; None where a program has none, which makes N = 1.
        names: Of that plate, which the guide may call otherwise than the model does.
        folded: Whether each datum stands in that plate K times, all data before any comes again.
    """

    num_particles: int
    particle_dim: int | None
    data: CondIndepStackFrame | None
    names: frozenset[str] = frozenset()
    folded: bool = False

    @classmethod
    def of(
        cls,
        data: CondIndepStackFrame | None,
        run: Run,
        num_particles: int = 1,
        particle_dim: int | None = None,
        *,
        folded: bool = False,
    ) -> Self:
        """The layout of a run."""
        names = set() if data is None else {data.name, *_twins(data, run)}
        return cls(num_particles, particle_dim, data, frozenset(names), folded)

    @property
    def scale(self) -> float:
        """Size of the data plate over the size of its subsample."""
        if self.data is None or not self.data.full_size:
            return 1.0
        return float(self.data.full_size / self.data.size)

    def is_local(self, site: Site) -> bool:
        """Whether a site stands in the data plate, one for each datum; always true without one."""
        return self.data is None or self._in_plate(site)

    def sum(self, site: Site, log_prob: Tensor) -> Tensor:
        """The log density of each particle and datum, (K, N); N is 1 outside the data plate.

        Other plates are summed over, and the scale of the data plate is divided out.
        """
        data_dim, scale = self._data_dim(site), self.scale if self._in_plate(site) else 1.0
        dims = range(-log_prob.dim(), 0)
        inner = [dim for dim in dims if dim not in (self.particle_dim, data_dim)]
        terms = log_prob.sum(inner) if inner else log_prob
        if data_dim is None:
            terms = terms.unsqueeze(-1)
        if self.particle_dim is None:
            terms = terms.unsqueeze(0)
        if self.folded and data_dim is not None:
            terms = terms.reshape(self.num_particles, -1)
        return terms if scale == 1.0 else terms / scale

    def spread(self, weight: Tensor, site: Site) -> Tensor:
        """Reshapes a weight (K, N) so that it multiplies the value of a site."""
        if self.folded:
            weight = weight.reshape(1, -1)
        sizes = {self.particle_dim: weight.shape[0], self._data_dim(site): weight.shape[1]}
        depth = max((-dim for dim in sizes if dim is not None), default=0)
        shape = [sizes.get(dim, 1) for dim in range(-depth, 0)]
        return weight.reshape(*shape, *(1 for _ in site["fn"].event_shape))

    def rows(self, site: Site) -> Tensor:
        """A site's draws as vectors, one for each particle and datum: (K N, D)."""
        dims = [dim for dim in (self.particle_dim, self._data_dim(site)) if dim is not None]
        front = tuple(range(len(dims)))
        value = site["value"].movedim([dim - site["fn"].event_dim for dim in dims], front)
        return value.reshape(math.prod(value.shape[: len(dims)]), -1)

    def check_same_plates(self, site: Site, twin: Site | None) -> None:
        """Refuses a latent that guide (`site`) and model (`twin`) have in different plates."""
        if twin is None or self.data is None or self._in_plate(site) == self._in_plate(twin):
            return
        model, guide = ("inside" if self._in_plate(s) else "outside" for s in (twin, site))
        raise ValueError(
            f"latent {site['name']!r} stands {model} the plate {self.data.name!r} in the model "
            f"but {guide} it in the guide; put it in the same plates in both"
        )

    def _in_plate(self, site: Site) -> bool:
        return any(frame.name in self.names for frame in site["cond_indep_stack"])

    def _data_dim(self, site: Site) -> int | None:
        return self.data.dim if self.data is not None and self._in_plate(site) else None


def _twins(data: CondIndepStackFrame, run: Run) -> set[str]:
    """What the guide calls the data plate, if it has none of that name: one that stands there."""
    frames = {f.name: f for site in sample_sites(run.guide) for f in site["cond_indep_stack"]}
    if data.name in frames:
        return set()
    known = {f.name for site in sample_sites(run.model) for f in site["cond_indep_stack"]}
    return {
        name
        for name, frame in frames.items()
        if name not in known and (frame.dim, frame.size) == (data.dim, data.size)
    }


def support_of(fn: Any) -> Any:
    """The set that each number of a draw lies in; the reals where none is declared."""
    try:
        support = fn.support
    except NotImplementedError:
        return constraints.real
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support if support is not None else constraints.real
