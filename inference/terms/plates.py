"""Which plate of a program holds its data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro.distributions import Delta, MaskedDistribution, Unit
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from pyro_vae.factors import is_training_factor

__all__ = [
    "DataPlate",
    "data_plate",
    "find_data_plate",
    "is_deterministic",
    "is_factor",
    "num_rows",
]

PARTICLES = "num_particles_vectorized"  # the name that Pyro gives this plate, too
Site = Mapping[str, Any]
Frames = dict[str, CondIndepStackFrame]


@dataclass(frozen=True)
class DataPlate:
    """The plate of the data, if there is one, and what speaks against it.

    Args:
        frame: The plate; None where the data stand in none.
        rivals: The plates that might be it as well.
    """

    frame: CondIndepStackFrame | None
    rivals: tuple[CondIndepStackFrame, ...] = ()


def data_plate(sites: Iterable[Site], num_data: int | None = None) -> CondIndepStackFrame | None:
    """The plate of the data among those of a model's sites; see `find_data_plate`."""
    return find_data_plate(sites, num_data).frame


def find_data_plate(sites: Iterable[Site], num_data: int | None = None) -> DataPlate:
    """The plate of the data: "data", else one that holds every observed site, of fitting size.

    Factors and deterministic sites are observed too, but are no data; a factor alone may be the
    density of the data, if it is none of training.

    Args:
        sites: The model's.
        num_data: How many rows the data have, if that is known.
    """
    stacks = _stacks_of_data(sites)
    for stack in stacks:
        if "data" in stack:
            return DataPlate(stack["data"])
    common = _common(stacks) or _of_size(_union(stacks), num_data)
    if len(common) > 1:
        common = _of_size(common, num_data) or common
    frames = sorted(common.values(), key=lambda frame: frame.dim or 0)  # the outermost first
    return DataPlate(frames[0] if frames else None, tuple(frames[1:]))


def is_factor(site: Site) -> bool:
    """Whether a site is a `pyro.factor`, or a training factor."""
    return isinstance(_bare(site["fn"]), Unit)


def is_deterministic(site: Site) -> bool:
    """Whether a site only gives a value a name, as `pyro.deterministic` does."""
    fn = site["fn"]
    counts = not isinstance(fn, MaskedDistribution) or fn._mask is not False
    return site["is_observed"] and not counts and isinstance(_bare(fn), Delta)


def num_rows(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """How many rows the first argument that is a tensor has; None if there is no such tensor."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return len(value) if value.dim() else None
    return None


def _stacks_of_data(sites: Iterable[Site]) -> list[Frames]:
    """The vectorized plates of each site with data, or of factors where nothing else is."""
    observed = [
        site
        for site in sites
        if site["is_observed"] and not (is_deterministic(site) or is_training_factor(site))
    ]
    data = [site for site in observed if not isinstance(_bare(site["fn"]), Delta | Unit)]
    stacks = [
        {f.name: f for f in site["cond_indep_stack"] if f.vectorized and f.name != PARTICLES}
        for site in data or observed
    ]
    return stacks if data else [stack for stack in stacks if stack]


def _common(stacks: Sequence[Frames]) -> Frames:
    names = set.intersection(*map(set, stacks)) if stacks else set()
    return {name: stacks[0][name] for name in names}


def _union(stacks: Sequence[Frames]) -> Frames:
    return {name: frame for stack in stacks for name, frame in stack.items()}


def _of_size(frames: Frames, num_data: int | None) -> Frames:
    """The plates that hold so many data, or draw from so many."""
    return {n: f for n, f in frames.items() if num_data in (f.size, f.full_size)}


def _bare(fn: Any) -> Any:
    while isinstance(fn, MaskedDistribution):
        fn = fn.base_dist
    return fn
