"""What every estimator shares: run guide and model together, collect the terms of the bound."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.infer import ELBO
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_site_shape
from torch import Tensor
from torch.distributions import kl_divergence

__all__ = ["Estimator", "Latent", "Terms", "collect"]

Function = Callable[..., Any]
PARTICLES = "num_particles_vectorized"  # the name that Pyro gives this plate, too


@dataclass(frozen=True)
class Latent:
    """One latent site: its draw, its two distributions, and their log densities at the draw.

    The log densities have shape (K, N), for K particles and N data, with the site's inner plates
    and masks summed over; a site outside the data plate has N = 1.
    """

    z: Tensor
    p: TorchDistribution
    q: TorchDistribution
    log_p: Tensor
    log_q: Tensor
    reparameterized: bool
    reduce: Callable[[Tensor], Tensor]

    def kl(self) -> Tensor:
        """KL(q || p) in closed form where one is known, else the drawn log q - log p: (K, N)."""
        try:
            return self.reduce(kl_divergence(self.q, self.p))
        except NotImplementedError:
            return self.log_q - self.log_p


@dataclass(frozen=True)
class Terms:
    """The terms of log w = log p(x, z) - log q(z | x), for K particles and N data.

    Args:
        log_px: log p(x | z), (K, N).
        latents: The latents of each datum, by name.
        global_latents: Those outside the data plate, shared by all data, with N = 1.
        scale: Size of the data plate over the size of its subsample, already divided out of the
            terms of the data.
        traces: Of the model and of the guide, with the scales still in.
    """

    log_px: Tensor
    latents: Mapping[str, Latent]
    global_latents: Mapping[str, Latent]
    scale: float
    traces: tuple[Any, Any]

    @property
    def log_w(self) -> Tensor:
        """The log importance weight of each particle and datum, (K, N)."""
        return self.log_px + sum(latent.log_p - latent.log_q for latent in self.latents.values())


def run(model: Function, guide: Function, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Traces the guide, and the model replayed on its draws, with their log densities."""
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    guide_trace = prune_subsample_sites(guide_trace)
    model_trace = prune_subsample_sites(model_trace)
    _check_same_latents(model_trace, guide_trace)
    model_trace.compute_log_prob()
    guide_trace.compute_score_parts()
    if pyro.settings.get("validate_poutine"):
        for trace in (model_trace, guide_trace):
            for site in samples(trace):
                check_site_shape(site, max_plate_nesting=math.inf)
    return model_trace, guide_trace


def collect(
    model: Function,
    guide: Function,
    args: Any,
    kwargs: Any,
    *,
    num_particles: int = 1,
    max_plate_nesting: float = math.inf,
) -> Terms:
    """Runs the pair once for all particles, in a plate to the left of its own, and sorts the terms.

    Args:
        model: The model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        num_particles: K, the number of draws.
        max_plate_nesting: How many batch dimensions the plates of the pair take; infinity finds
            out by running the pair once more.

    Raises:
        ValueError: If model and guide do not sample the same latents in the same plates.
    """
    if num_particles == 1:
        particle_dim = None
        model_trace, guide_trace = run(model, guide, args, kwargs)
    else:
        if math.isinf(max_plate_nesting):
            max_plate_nesting = plate_nesting(model, guide, args, kwargs)
        particle_dim = -int(max_plate_nesting) - 1
        particles = pyro.plate(PARTICLES, num_particles, dim=particle_dim)
        model_trace, guide_trace = run(particles(model), particles(guide), args, kwargs)

    data = _data_plate(model_trace)
    observed = [site for site in samples(model_trace) if site["is_observed"]]
    log_px = sum(_reducer(site, data, particle_dim)(site["log_prob"]) for site in observed)
    latents: dict[str, Latent] = {}
    global_latents: dict[str, Latent] = {}
    for site in samples(guide_trace):
        name = site["name"]
        twin = model_trace.nodes.get(name)  # None for the auxiliary sites of Pyro's autoguides
        local = data is None or any(frame.name == data.name for frame in site["cond_indep_stack"])
        _check_same_plates(site, twin, data)
        reduce = _reducer(site, data, particle_dim)
        log_q = reduce(site["log_prob"])
        (latents if local else global_latents)[name] = Latent(
            z=site["value"],
            p=twin["fn"] if twin else site["fn"],
            q=site["fn"],
            log_p=_reducer(twin, data, particle_dim)(twin["log_prob"]) if twin else 0 * log_q,
            log_q=log_q,
            reparameterized=is_identically_zero(site["score_parts"].score_function),
            reduce=lambda t, site=site, reduce=reduce: reduce(
                scale_and_mask(t, site["scale"], site["mask"])
            ),
        )
    return Terms(log_px, latents, global_latents, _scale(data), (model_trace, guide_trace))


def plate_nesting(model: Function, guide: Function, args: Any, kwargs: Any) -> int:
    """How many batch dimensions the plates of the pair take, found by running it once."""
    with torch.no_grad(), poutine.block():
        traces = run(model, guide, args, kwargs)
    frames = [f for t in traces for site in samples(t) for f in site["cond_indep_stack"]]
    return max((-frame.dim for frame in frames if frame.vectorized), default=0)


@dataclass(frozen=True)
class Estimator(ELBO):
    """A bound on log p(x): a small value that runs a program and returns minus its bound.

    A subclass writes one formula, `objective`. Its fields are numbers or schedules; `at(step)`
    puts the numbers of a step in. It works in `pyro_vae.inference.SVI` and in `pyro.infer.SVI`.

    Args:
        num_particles: K, the number of draws of the latents for each datum.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
    """

    num_particles: int = 1
    max_plate_nesting: float = math.inf

    # What else Pyro's base class holds, and its methods read.
    vectorize_particles: ClassVar[bool] = True
    retain_graph: ClassVar[bool | None] = None
    strict_enumeration_warning: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.num_particles < 1:
            raise ValueError(
                f"{type(self).__name__} needs at least one particle, "
                f"but num_particles is {self.num_particles}"
            )

    def objective(self, t: Terms) -> Tensor:
        """The bound of each datum, (N,), from the terms; it goes up."""
        raise NotImplementedError

    def global_objective(self, t: Terms) -> Tensor | float:
        """What latents outside the data plate add to the sum of the bounds."""
        if t.global_latents:
            raise ValueError(
                f"{type(self).__name__} is a bound for each datum, but {_names(t.global_latents)} "
                "stand outside the data plate and are shared by all data; use Trace_ELBO"
            )
        return 0.0

    def at(self, step: int) -> Self:
        """This estimator with each schedule replaced by its value at a step."""
        now = {name: schedule(step) for name, schedule in self.schedules().items()}
        return replace(self, **now) if now else self

    def schedules(self) -> dict[str, Callable[[int], float]]:
        """The fields that are schedules, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if callable(value)}

    def prepared(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Self:
        """This estimator with `max_plate_nesting` found, where it needs it."""
        known = self.num_particles == 1 or not math.isinf(self.max_plate_nesting)
        if known or not self.vectorize_particles:
            return self
        return replace(self, max_plate_nesting=plate_nesting(model, guide, args, kwargs))

    def terms(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Terms:
        """The terms of the bound from one run of the program."""
        return collect(
            model,
            guide,
            args,
            kwargs,
            num_particles=self.num_particles,
            max_plate_nesting=self.max_plate_nesting,
        )

    def differentiable_loss(
        self, model: Function, guide: Function, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound, summed over the data, as a tensor with its gradient."""
        self._check_numbers()
        t = self.terms(model, guide, *args, **kwargs)
        return -(t.scale * self.objective(t).sum() + self.global_objective(t))

    def loss(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> float:
        """Minus the bound, summed over the data, as a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> float:
        """Minus the bound; its gradient is added to the parameters' `grad`."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return loss.item()

    def _check_numbers(self) -> None:
        for name in self.schedules():
            raise ValueError(
                f"{name} of {type(self).__name__} is a schedule, which needs the step: train with "
                f"pyro_vae.inference.SVI, which counts them, or take `estimator.at(step)`"
            )

    def _get_trace(self, model: Function, guide: Function, args: Any, kwargs: Any) -> Any:
        return run(model, guide, args, kwargs)  # what Pyro's base class asks of a subclass


def samples(trace: Any) -> list[dict[str, Any]]:
    """The sample sites of a trace, in the order of sampling."""
    return [site for site in trace.nodes.values() if site["type"] == "sample"]


def _names(sites: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, sites))


def _data_plate(model_trace: Any) -> CondIndepStackFrame | None:
    """The plate of the data: "data", else the outermost that holds every observed site."""
    stacks = [
        {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}
        for site in samples(model_trace)
        if site["is_observed"]
    ]
    if not stacks:
        return None
    names = set.intersection(*(set(stack) for stack in stacks)) - {PARTICLES}
    if "data" in names:
        return stacks[0]["data"]
    return min((stacks[0][name] for name in names), key=lambda f: f.dim or 0, default=None)


def _scale(data: CondIndepStackFrame | None) -> float:
    return data.full_size / data.size if data is not None and data.full_size else 1.0


def _reducer(
    site: Mapping[str, Any], data: CondIndepStackFrame | None, particle_dim: int | None
) -> Callable[[Tensor], Tensor]:
    """What sums a site's batch of log densities to (K, N) and takes the data's scale out."""
    local = data is not None and any(f.name == data.name for f in site["cond_indep_stack"])
    data_dim = data.dim if data is not None and local else None
    scale = _scale(data) if local else 1.0

    def reduce(log_prob: Tensor) -> Tensor:
        dims = range(-log_prob.dim(), 0)
        inner = [dim for dim in dims if dim not in (particle_dim, data_dim)]
        terms = log_prob.sum(inner) if inner else log_prob
        if data_dim is None:
            terms = terms.unsqueeze(-1)
        if particle_dim is None:
            terms = terms.unsqueeze(0)
        return terms if scale == 1.0 else terms / scale

    return reduce


def _check_same_latents(model_trace: Any, guide_trace: Any) -> None:
    model = [s["name"] for s in samples(model_trace) if not s["is_observed"]]
    guide = [s["name"] for s in samples(guide_trace) if not s["is_observed"]]
    auxiliary = {s["name"] for s in samples(guide_trace) if s["infer"].get("is_auxiliary")}
    if set(model) != set(guide) - (auxiliary - set(model)):
        raise ValueError(
            f"model samples {model} but guide samples {guide}; every latent site of the model "
            "needs a site of the same name in the guide, and the other way round"
        )


def _check_same_plates(
    site: Mapping[str, Any], twin: Mapping[str, Any] | None, data: CondIndepStackFrame | None
) -> None:
    if twin is None or data is None:
        return
    inside = [any(f.name == data.name for f in s["cond_indep_stack"]) for s in (twin, site)]
    if inside[0] != inside[1]:
        where = ["inside" if i else "outside" for i in inside]
        raise ValueError(
            f"latent {site['name']!r} stands {where[0]} the plate {data.name!r} in the model "
            f"but {where[1]} it in the guide; put it in the same plates in both"
        )
