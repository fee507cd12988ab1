"""The latents of a program as a page shows them: rates, reach, draws and means."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.inference.applications import latents as latents_of_data
from pyro_vae.inference.evaluation import rates_and_means
from pyro_vae.inference.terms import sample_sites, support_of, trace_guide
from pyro_vae.program import evaluating

from .functions import decode
from .graph import Graph, traced
from .opened import OpenedRun

__all__ = ["Latents", "choice_of", "latents_in", "log_prior"]

_DRAWS = 256  # of the prior, or of each class's, among which a page chooses one at random
_JUDGED = 500  # data over which rates are judged
_REACH = 0.995  # the share of draws and means that a slider reaches
_MOST_CLASSES = 100


@dataclass(frozen=True)
class Latents:
    """The latents of a program that are numbers.

    Args:
        sites: The shape of one datum's value, by name, from the top down.
        below: Those whose prior depends on latents above, and which a page gives noise.
        kept: Those that a page gives values, though their prior depends on others.
        rates: Of each number in nats, by site; None where numbers have none of their own.
        means: Of q for each datum, all sites at the top joined, (N, D).
        draws: Of the prior, likewise, (M, D); of means, if there is none to draw from.
        has_prior: Whether there is a prior to draw from.
    """

    sites: Mapping[str, tuple[int, ...]]
    below: tuple[str, ...]
    kept: tuple[str, ...]
    rates: Mapping[str, Tensor | None]
    means: Tensor
    draws: Tensor
    has_prior: bool

    @property
    def is_hierarchy(self) -> bool:
        """Whether a latent is below another."""
        return bool(self.below)

    @property
    def top(self) -> list[str]:
        """The latents that are below none."""
        return [name for name in self.sites if name not in self.below]

    def described(self) -> list[dict[str, Any]]:
        """Each latent, as JSON takes it."""
        reach, start, found = self._reach(), 0, []
        for name, shape in self.sites.items():
            size, rates = math.prod(shape), self.rates[name]
            is_below = name in self.below
            ends = torch.full((size,), 3.0) if is_below else reach[start : start + size]
            start += 0 if is_below else size
            found.append(
                {
                    "name": name,
                    "shape": list(shape),
                    "below": is_below,
                    "keeps": name in self.kept,
                    "rates": None if rates is None else _rounded(rates),
                    "reach": _rounded(ends),
                    "origin": [0.0] * size,
                }
            )
        return found

    def _reach(self) -> Tensor:
        """How far nearly all draws and means are off 0, for each number at the top."""
        parts = [self.means, self.draws] if self.has_prior else [self.means]
        ends = [part.abs().float().quantile(_REACH, 0) for part in parts]
        return (1.1 * torch.stack(ends).amax(0)).clamp_min(1e-3)


def latents_in(run: OpenedRun) -> Latents:
    """The latents of a run's program.

    Raises:
        ValueError: If none of them is a number.
    """
    sites = _numeric_sites(run)
    inputs = decode(run.program, run.example).inputs
    conditional = [name for name in sites if f"keep_{name}" in inputs]
    is_of_classes = len(conditional) == len(sites)
    below = tuple(conditional[is_of_classes:])
    kept = tuple(conditional[:is_of_classes])
    top = [name for name in sites if name not in below]
    found = latents_of_data(run.program, *run.args)
    means = torch.cat([found[name].flatten(1).float() for name in top], 1)
    draws = _draws(run, top)
    return Latents(
        sites,
        below,
        kept,
        {name: _rates(run, name) for name in sites},
        means,
        means[:_DRAWS] if draws is None else draws,
        draws is not None,
    )


def choice_of(run: OpenedRun) -> dict[str, Any] | None:
    """The classes that a program is given, or has as a latent, among which a page lets choose."""
    if run.y is not None and not run.y.is_floating_point():
        classes = run.run.known.get("num_classes") or int(run.y.max()) + 1
        words = "The label y that the program is given"
        return {"name": "y", "classes": classes, "oneHot": False, "words": words}
    for name, site in _guide_sites(run).items():
        if support_of(site["fn"]).is_discrete:
            value = site["value"][:1]
            one_hot = value.dim() > 1
            classes = value.shape[-1] if one_hot else len(site["fn"].enumerate_support())
            words = f"The class {name}, a latent"
            return {"name": name, "classes": classes, "oneHot": one_hot, "words": words}
    return None


def log_prior(run: OpenedRun, latents: Latents) -> Graph:
    """Log p of the latents at the top as a function of them, in nats, `log_pz`."""
    example, inputs = run.example, decode(run.program, run.example).inputs
    names = [name for name in inputs if not name.startswith(("keep_", "noise_", "temperature_"))]
    wanted = {name: inputs[name] for name in names if name not in latents.below}
    below = {name: torch.zeros_like(inputs[name]) for name in latents.below}

    def call(**tensors: Tensor) -> tuple[Tensor, ...]:
        at = example.with_tensors(None, tensors.get("y"))
        values = {n: t for n, t in {**below, **tensors}.items() if n != "y" or at.y is None}
        model = poutine.condition(run.program.model, data=values)
        with evaluating(run.program), pyro.validation_enabled(False):
            trace = poutine.trace(model).get_trace(*arguments(run.program, at.x, at.y))
        sites = [trace.nodes[name] for name in latents.top]
        return (sum((s["fn"].log_prob(s["value"]).sum() for s in sites), torch.zeros(())),)

    return traced(call, wanted, ("log_pz",))


def _numeric_sites(run: OpenedRun) -> dict[str, tuple[int, ...]]:
    """The shapes of the latents that are numbers, in the model's order."""
    found = _guide_sites(run)
    discrete = [name for name, site in found.items() if support_of(site["fn"]).is_discrete]
    order = [n for n in decode(run.program, run.example).inputs if n in found]
    numeric = {n: tuple(found[n]["value"].shape[1:]) for n in order if n not in discrete}
    large = [n for n in discrete if found[n]["value"][0].numel() > _MOST_CLASSES]
    if not numeric or large:
        what = f"are codes or classes: {', '.join(discrete)}" if discrete else "are none of a datum"
        raise ValueError(
            f"the latents of {run.run.folder} {what}, so there is no space of numbers in which a "
            "point could be dragged; look at pyro-vae sample and pyro-vae reconstruct"
        )
    return numeric


def _guide_sites(run: OpenedRun) -> dict[str, Any]:
    with evaluating(run.program), torch.random.fork_rng():
        args = arguments(run.program, run.x[:2], None if run.y is None else run.y[:2])
        trace = trace_guide(run.program.guide, args, {})
    sites = [s for s in sample_sites(trace) if not s["is_observed"] and s["cond_indep_stack"]]
    return {s["name"]: s for s in sites if not s["infer"].get("is_auxiliary")}


def _rates(run: OpenedRun, name: str) -> Tensor | None:
    """The rate of each number over the data; None where numbers have none of their own."""
    some = run.x[:_JUDGED], None if run.y is None else run.y[:_JUDGED]
    try:
        with evaluating(run.program), torch.random.fork_rng(), torch.no_grad():
            rates, _ = rates_and_means(run.program, arguments(run.program, *some), name)
    except ValueError:
        return None
    return None if rates is None or not rates.isfinite().all() else rates.flatten()


def _draws(run: OpenedRun, top: list[str]) -> Tensor | None:
    """Draws of the prior, (M, D), of each class one after the other; None if it has none."""
    labels: list[Any] = [None]
    if run.y is not None:
        choice = choice_of(run)
        labels = [run.y[0]] if choice is None else list(range(choice["classes"]))
    draw = partial(_draws_given, run, top, max(16, _DRAWS // len(labels)))
    try:
        return torch.cat([draw(label) for label in labels])
    except NotImplementedError:  # an improper prior, as an autoencoder has
        return None


def _draws_given(run: OpenedRun, top: list[str], count: int, label: Any) -> Tensor:
    x = run.x[:1].expand(count, *run.x.shape[1:])
    y = None if run.y is None else torch.as_tensor(label, dtype=run.y.dtype)
    y = None if y is None else y.expand(count, *y.shape)
    with evaluating(run.program), torch.random.fork_rng(), torch.no_grad():
        trace = poutine.trace(run.program.model).get_trace(*arguments(run.program, x, y))
    values = [trace.nodes[name]["value"] for name in top]
    return torch.cat([value.reshape(count, -1).float() for value in values], 1)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
