"""How the particles of a program are run: at once, folded into the batch, or in turn.

Networks that take one batch dimension and no more are common: given particles as a second one they
fail, or worse, they run and are wrong. So each program is tried first, on draws that are known.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Independent, MaskedDistribution
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vae.factors import is_training_factor
from pyro_vae.program import Program

from .layout import Layout, in_particles
from .plates import find_data_plate, is_deterministic, num_rows
from .rows import settled
from .runs import Function, Run, is_subsampled, run, sample_sites, subsamples
from .trials import all_modules, evaluation_mode, perturbed, trial

__all__ = ["Particles", "Way", "find_particles", "plate_nesting", "repeated", "particle_nesting"]

Laid = Callable[[Sequence[Tensor], int], Tensor]


class Way(Enum):
    """How K particles are run."""

    AT_ONCE = "in a plate of their own, to the left of the program's"
    FOLDED = "as a batch in which each datum stands K times"
    IN_TURN = "one by one"


@dataclass(frozen=True)
class Particles:
    """How the particles of a program are to be run.

    Args:
        way: The quickest way that is right.
        nesting: How many batch dimensions the plates of the program take.
        coupling: The sites that the model observes outside the data plate and that depend on the
            latents, so that no datum has a bound of its own.
    """

    way: Way
    nesting: int
    coupling: tuple[str, ...] = ()


def plate_nesting(model: Function, guide: Function, args: Any, kwargs: Any) -> int:
    """How many batch dimensions the plates of the pair take, found by running it once.

    The random generators and the buffers of modules stay as they are.
    """
    with trial():
        return _nesting(run(model, guide, args, kwargs))


def particle_nesting(program: Program, *args: Tensor) -> int | None:
    """How many batch dimensions a program's plates take, to put a particle plate before them.

    Args:
        program: The program.
        *args: The arguments of its model and guide.

    Returns:
        None if the program is wrong with a dimension of particles.
    """
    particles = find_particles(program.model, program.guide, args, {})
    return particles.nesting if particles.way is Way.AT_ONCE else None


def find_particles(
    model: Function,
    guide: Function,
    args: Any,
    kwargs: Any,
    max_plate_nesting: float = math.inf,
) -> Particles:
    """Finds how to run several particles of a program, by trying two.

    Two runs of one particle each give draws and their log densities. A run of both particles on
    the same draws must give each site the same log densities. Modules run in evaluation mode
    meanwhile, as dropout would differ; the random generators, buffers and parameters stay as they
    are.

    Args:
        model: The model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        max_plate_nesting: How many batch dimensions the plates take, if that is known.
    """
    with trial() as ran:
        first = run(model, guide, args, kwargs)
    nesting = _nesting(first) if math.isinf(max_plate_nesting) else int(max_plate_nesting)
    modules = all_modules(model, guide, ran)
    in_training = any(isinstance(m, _BatchNorm) and m.training for m in modules)
    pair = _Pair(model, guide, args, kwargs, nesting, may_fold=not in_training)
    parameters = _parameters(modules, first)
    for stir in (parameters, []):
        with trial(), evaluation_mode(modules), perturbed(stir):
            try:
                return pair.judged(subsamples(first.detached))
            except Exception:  # what a user's code may raise on parameters that were perturbed
                continue
    return Particles(Way.IN_TURN, nesting)


def repeated(args: Any, kwargs: Any, times: int, num_data: int | None) -> tuple[Any, Any]:
    """The arguments with each tensor of `num_data` rows repeated: rows 0 to N - 1, then again."""

    def repeat(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != num_data:
            return value
        return value.repeat(times, *[1] * (value.dim() - 1))

    return [repeat(value) for value in args], {k: repeat(v) for k, v in kwargs.items()}


@dataclass(frozen=True)
class _Pair:
    """A model and its guide with their arguments, to be tried."""

    model: Function
    guide: Function
    args: Any
    kwargs: Any
    nesting: int
    may_fold: bool

    def judged(self, subsample: Any) -> Particles:
        """How the particles are to be run, if single runs do not fail."""
        number = 3 if num_rows(self.args, self.kwargs) == 2 else 2  # not to be taken for the data
        ones = [
            run(self.model, self.guide, self.args, self.kwargs, subsample=subsample)
            for _ in range(number)
        ]
        plate = find_data_plate(sample_sites(ones[0].model), num_rows(self.args, self.kwargs))
        if plate.rivals:
            plate = settled(plate, self.model, self.guide, self.args, self.kwargs)
        layout = Layout.of(plate.frame, ones[0])
        coupling = _coupling(layout, ones)
        if self._runs_at_once(ones):
            return Particles(Way.AT_ONCE, self.nesting, coupling)
        if self.may_fold and not plate.rivals and self._runs_folded(ones, layout):
            return Particles(Way.FOLDED, self.nesting)
        return Particles(Way.IN_TURN, self.nesting, coupling)

    def _runs_at_once(self, ones: Sequence[Run]) -> bool:
        def lay(values: Sequence[Tensor], right: int) -> Tensor:
            return torch.stack([_padded(value, self.nesting + right) for value in values])

        dim = -self.nesting - 1
        model, guide = (in_particles(f, len(ones), dim) for f in (self.model, self.guide))
        return _agrees(model, guide, self.args, self.kwargs, ones, lay)

    def _runs_folded(self, ones: Sequence[Run], layout: Layout) -> bool:
        data = layout.data
        if data is None or data.dim is None or data.size != num_rows(self.args, self.kwargs):
            return False
        if not _is_of_independent_rows(ones[0], layout):
            return False
        dim = data.dim

        def lay(values: Sequence[Tensor], right: int) -> Tensor:
            padded = [_padded(value, right - dim) for value in values]
            sized = [v.expand(_with_size(v, dim - right, data.size)) for v in padded]
            return torch.cat(sized, dim - right)

        args, kwargs = repeated(self.args, self.kwargs, len(ones), data.size)
        return _agrees(self.model, self.guide, args, kwargs, ones, lay)


def _agrees(
    model: Function, guide: Function, args: Any, kwargs: Any, ones: Sequence[Run], lay: Laid
) -> bool:
    """Whether a run of all draws has the log densities of the runs of one each."""
    draws = ones[0].detached.copy()
    for site in sample_sites(draws):
        if site_is_subsample(site) and not is_subsampled(site):
            draws.remove_node(site["name"])  # a plate of all data; folded, it holds more of them
        elif not site["is_observed"] and hasattr(site["fn"], "event_dim"):
            values = [one.detached.nodes[site["name"]]["value"] for one in ones]
            value = lay(values, site["fn"].event_dim)
            draws.nodes[site["name"]] = {**site, "value": value}
    try:
        found = run(model, poutine.replay(guide, trace=draws), args, kwargs)
        return all(
            _same_sites(getattr(found, role), [getattr(one, role) for one in ones], lay)
            for role in ("model", "guide")
        )
    except Exception:  # what networks may raise on shapes that they were not made for
        return False


def _same_sites(together: Any, ones: Sequence[Any], lay: Laid) -> bool:
    if together.nodes.keys() != ones[0].nodes.keys():
        return False
    for site in sample_sites(together):
        if is_deterministic(site):
            continue
        singles = [one.nodes[site["name"]] for one in ones]
        if not _close(site["log_prob"], lay([s["log_prob"] for s in singles], 0), 1e-3):
            return False
        # Number by number, where a sum over an event would drown what a wrong network changes.
        density, right = _density(site)
        if not _close(density, lay([_density(s)[0] for s in singles], right), 1e-4):
            return False
    return True


def _density(site: Any) -> tuple[Tensor, int]:
    """The log density before it is summed over events, and how many dimensions are not yet."""
    fn, right = site["fn"], 0
    while isinstance(fn, Independent | MaskedDistribution):
        right += getattr(fn, "reinterpreted_batch_ndims", 0)
        fn = fn.base_dist
    return fn.log_prob(site["value"]), right


def _close(value: Tensor, expected: Tensor, tolerance: float) -> bool:
    if value.dtype is torch.float64:
        tolerance /= 1000
    value, expected = torch.broadcast_tensors(value, expected)
    return torch.allclose(value, expected, tolerance, tolerance, equal_nan=True)


def _padded(value: Tensor, dims: int) -> Tensor:
    return value.reshape((1,) * (dims - value.dim()) + value.shape)


def _with_size(value: Tensor, dim: int, size: int) -> list[int]:
    return [size if i == value.dim() + dim else -1 for i in range(value.dim())]


def _is_of_independent_rows(one: Run, layout: Layout) -> bool:
    """Whether all sites belong to one datum, and no plate subsamples."""
    sites = [
        s for s in (*sample_sites(one.model), *sample_sites(one.guide)) if not is_deterministic(s)
    ]
    frames = [frame for site in sites for frame in site["cond_indep_stack"]]
    return all(layout.is_local(site) for site in sites) and all(
        frame.full_size in (None, frame.size) for frame in frames
    )


def _coupling(layout: Layout, ones: Sequence[Run]) -> tuple[str, ...]:
    """The sites outside the data plate whose log density changes with the draws."""
    return tuple(
        site["name"]
        for site in sample_sites(ones[0].model)
        if site["is_observed"]
        and not (is_training_factor(site) or layout.is_local(site))
        and not _close(site["log_prob"], ones[1].model.nodes[site["name"]]["log_prob"], 1e-6)
    )


def _nesting(one: Run) -> int:
    sites = (*sample_sites(one.model), *sample_sites(one.guide))
    frames = [frame for site in sites for frame in site["cond_indep_stack"]]
    return max((-frame.dim for frame in frames if frame.vectorized), default=0)


def _parameters(modules: Iterable[nn.Module], one: Run) -> list[Tensor]:
    own = [p for module in modules for p in module.parameters(recurse=False)]
    sites = [s for trace in (one.model, one.guide) for s in trace.nodes.values()]
    values = [site["value"] for site in sites if site["type"] == "param"]
    return own + [v.unconstrained() if hasattr(v, "unconstrained") else v for v in values]
