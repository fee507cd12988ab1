"""One run of guide and model: their traces on the same draws, with Pyro's checks."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.infer.util import is_validation_enabled
from pyro.poutine import Trace
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import Messenger, unwrap
from pyro.poutine.util import prune_subsample_sites, site_is_subsample
from pyro.util import check_model_guide_match, check_site_shape
from torch import Tensor

from pyro_vae.sharing import sharing

from .support import invertible

__all__ = [
    "Function",
    "Run",
    "is_subsampled",
    "run",
    "sample_sites",
    "subsamples",
    "trace_again",
    "trace_guide",
    "trace_model",
    "trace_prior",
    "traces",
]

Function = Callable[..., Any]


@dataclass(frozen=True)
class Run:
    """The traces of one run, with log densities.

    Args:
        model: The model's trace.
        guide: The guide's.
        detached: The guide's draws without their gradient and all subsamples, to replay either on.
    """

    model: Any
    guide: Any
    detached: Any


def sample_sites(trace: Any) -> list[dict[str, Any]]:
    """The sample sites of a trace, in the order of sampling."""
    return [site for site in trace.nodes.values() if site["type"] == "sample"]


def run(
    model: Function,
    guide: Function,
    args: Any,
    kwargs: Any,
    *,
    max_plate_nesting: float = math.inf,
    detach_draws: bool = False,
    subsample: Any = None,
    share: bool = False,
) -> Run:
    """Traces the guide, and the model replayed on its draws, with their log densities.

    Where Pyro's validation is on, what its own `Trace_ELBO` refuses is refused.

    Args:
        model: The model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        max_plate_nesting: How many batch dimensions plates may take.
        detach_draws: Whether no gradient flows through the draws, reparameterized or not.
        subsample: The `subsamples` of another run, for plates that subsample by themselves.
        share: Whether the model takes over what the guide computed from the same draws, by `once`.
            Not where gradients through the draws are to differ in the two.

    Raises:
        ValueError: If model and guide do not sample the same latents.
    """
    if subsample is not None:
        model, guide = (poutine.replay(f, trace=subsample) for f in (model, guide))
    with sharing(share):
        with _DetachDraws() if detach_draws else nullcontext():
            guide_trace = trace_guide(guide, args, kwargs)
        if share:
            model_trace = _trace(poutine.replay(model, guide_trace), args, kwargs)
        else:
            model_trace = trace_model(model, guide_trace, args, kwargs)
    detached = _with_values(guide_trace, torch.detach)
    for site in sample_sites(model_trace):
        if site_is_subsample(site) and site["name"] not in detached:
            detached.add_node(site["name"], **site)
    pruned_model, pruned_guide = map(prune_subsample_sites, (model_trace, guide_trace))
    _check_same_latents(pruned_model, pruned_guide)
    validates = is_validation_enabled()
    if validates:
        check_model_guide_match(model_trace, guide_trace, max_plate_nesting)
    pruned_model.compute_log_prob()
    with invertible(sample_sites(pruned_guide)):
        pruned_guide.compute_score_parts()
    if validates:
        for site in (*sample_sites(pruned_model), *sample_sites(pruned_guide)):
            check_site_shape(site, max_plate_nesting)
    return Run(pruned_model, pruned_guide, detached)


def traces(model: Function, guide: Function, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The traces of the model and of its guide on the same draws, and nothing more.

    No density is computed and nothing is checked, as where a loss sums latents out or a density
    may not be finite; `run` does both.
    """
    guide_trace = trace_guide(guide, args, kwargs)
    return trace_model(model, guide_trace, args, kwargs), guide_trace


def trace_guide(guide: Function, args: Any, kwargs: Any) -> Any:
    """The guide's trace; a guide that runs the model by itself traces its own part of it."""
    messenger = unwrap(guide)
    if not isinstance(messenger, GuideMessenger):
        return _trace(guide, args, kwargs)
    guide(*args, **kwargs)
    trace = messenger.trace.copy()
    for site in sample_sites(trace):
        if site["is_observed"]:
            trace.remove_node(site["name"])
    return trace


def trace_model(model: Function, guide_trace: Any, args: Any, kwargs: Any) -> Any:
    """The model's trace, replayed on the guide's draws."""
    return _trace(poutine.replay(model, _with_values(guide_trace, _alias)), args, kwargs)


def trace_prior(model: Function, args: Any, kwargs: Any) -> Any:
    """The model's trace at latents of its own, whose draws carry no gradient."""
    with _DetachDraws():
        return _trace(model, args, kwargs)


def is_subsampled(site: Mapping[str, Any]) -> bool:
    """Whether a plate, by the site that draws from its data, leaves some of them out."""
    return site["fn"].subsample_size not in (None, site["fn"].size)


def subsamples(detached: Any) -> Any:
    """The trace of what the plates of a run have drawn from their data; None if they hold all."""
    sites = [site for site in sample_sites(detached) if site_is_subsample(site)]
    if not any(is_subsampled(site) for site in sites):
        return None
    drawn = Trace()
    for site in sites:
        drawn.add_node(site["name"], **site)
    return drawn


def trace_again(function: Function, args: Any, kwargs: Any, detached: Any) -> Any:
    """The trace of another run of the model or the guide, on the draws of `Run.detached`."""
    trace = prune_subsample_sites(trace_guide(poutine.replay(function, detached), args, kwargs))
    with invertible(sample_sites(trace)):
        trace.compute_log_prob()
    return trace


class _DetachDraws(Messenger):
    """Stops the gradient at each draw, before anything depends on it."""

    def _pyro_post_sample(self, message: Any) -> None:
        if not message["is_observed"] and isinstance(message["value"], Tensor):
            message["value"] = message["value"].detach()


def _trace(function: Function, args: Any, kwargs: Any) -> Any:
    return poutine.trace(function).get_trace(*args, **kwargs)


def _with_values(trace: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a trace with its draws changed."""
    copy = trace.copy()
    for site in sample_sites(trace):
        if isinstance(site["value"], Tensor):
            copy.nodes[site["name"]] = {**site, "value": change(site["value"])}
    return copy


def _alias(z: Tensor) -> Tensor:
    """The draw as the model sees it: what `Terms.gate` holds back must not pass in the guide."""
    return z.view_as(z) if z.requires_grad else z


def _check_same_latents(model_trace: Any, guide_trace: Any) -> None:
    model = [s["name"] for s in sample_sites(model_trace) if not s["is_observed"]]
    guide = [s["name"] for s in sample_sites(guide_trace) if not s["is_observed"]]
    auxiliary = {s["name"] for s in sample_sites(guide_trace) if s["infer"].get("is_auxiliary")}
    if set(model) != set(guide) - (auxiliary - set(model)):
        raise ValueError(
            f"model samples {model} but guide samples {guide}; every latent site of the model "
            "needs a site of the same name in the guide, and the other way round"
        )
