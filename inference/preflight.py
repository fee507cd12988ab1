"""The pre-flight of a program: one run on one batch that finds what would go wrong in training."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_site_shape
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.program import (
    Program,
    evaluation_mode,
    leaves,
    local_params,
    named_parameters,
)

from .estimator import Estimator
from .layout import data_plate, samples, support_of
from .plates import is_deterministic
from .report import Report, Site

__all__ = ["Report", "Site", "check"]


def check(
    program: Program, x: Tensor, loss: ELBO | None = None, *, y: Tensor | None = None
) -> Report:
    """Runs model and guide on one batch, and the loss with its gradient.

    Nothing is changed: neither parameters and buffers nor the state of the random generators.

    Args:
        program: The program to look at.
        x: A batch of data, (N, *x_shape).
        loss: The estimator to train with, by default Pyro's Trace_ELBO, or TraceEnum_ELBO where
            the guide enumerates a latent.
        y: Their labels, for a program `model(x, y)`.

    Raises:
        TypeError: If the program lacks a model or a guide, or the loss is a class.
        ValueError: In one sentence that says what to do, if it cannot run, if the guide misses or
            adds a latent, if shapes disagree, if data lie outside their likelihood's support, if a
            parameter gets no gradient, or if the estimator does not fit.
    """
    for role in ("model", "guide"):
        if not callable(getattr(program, role, None)):
            raise TypeError(
                f"a program needs functions model(x) and guide(x), but {program!r:.80} has no "
                f"{role}"
            )
    if isinstance(loss, type):
        raise TypeError(f"the loss is the class {loss.__name__}; write {loss.__name__}()")
    args = arguments(program, x, y)
    try:
        return _report(program, args, len(x), loss)
    except ValueError as error:
        if x.isfinite().all():
            raise
        raise ValueError(
            f"the data hold {int((~x.isfinite()).sum())} NaN or infinite values, which the program "
            f"does not leave out: {str(error).partition(';')[0]}; take encoder=ZeroImputed and "
            "likelihood=Mixed(), or fill them with numbers and mask their densities"
        ) from error


def _report(program: Program, args: Sequence[Tensor], num_data: int, loss: ELBO | None) -> Report:
    model, guide = program.model, program.guide
    with (
        torch.random.fork_rng(),
        evaluation_mode(program),
        local_params(model, guide),
    ):
        with pyro.validation_enabled(False):
            guide_trace = _run("guide", guide, args)
            model_trace = _run("model", poutine.replay(model, trace=guide_trace), args)
        _check_latents(model_trace, guide_trace)
        for role, trace in (("guide", guide_trace), ("model", model_trace)):
            for site in samples(trace):
                if not is_deterministic(site):
                    _check_site(role, site)
        plate = data_plate(samples(model_trace), num_data)
        if isinstance(loss, Estimator):
            _check_plate(plate, num_data)
        value, reached = _run_loss(loss or _default_loss(guide_trace), model, guide, args)
    parameters = named_parameters(model, guide)
    for name, parameter in parameters.items():
        if all(parameter is not leaf for leaf in reached):
            raise ValueError(
                f"parameter {name!r} gets no gradient: neither model nor guide uses it, or a "
                "detach() cuts it off; use it, delete it, or freeze it with requires_grad_(False)"
            )
    if not reached:
        raise ValueError("the program has no parameter to train")
    sites = [_site(s, guide_trace.nodes.get(s["name"])) for s in samples(model_trace)]
    ids = _declared(guide_trace) | _declared(model_trace)
    ids |= {id(parameter): name for name, parameter in parameters.items()}
    trained = {ids.get(id(leaf), f"parameter_{i}"): leaf for i, leaf in enumerate(reached)}
    num_data = max(num_data, (plate and plate.full_size) or 0)
    return Report(sites, value / num_data, trained)


def _default_loss(guide_trace: Any) -> ELBO:
    enumerates = any(site["infer"].get("enumerate") for site in samples(guide_trace))
    return pyro.infer.TraceEnum_ELBO() if enumerates else pyro.infer.Trace_ELBO()


def _base(fn: Any) -> Any:
    while type(fn).__name__ == "Independent":
        fn = fn.base_dist
    return fn


def _run(role: str, function: Callable[..., Any], args: Sequence[Tensor]) -> Any:
    try:
        return prune_subsample_sites(poutine.trace(function).get_trace(*args))
    except Exception as error:  # a user's code may raise anything
        sentence = f"the {role} fails on data of shape {tuple(args[0].shape)}: {_sentence(error)}"
        if "Shape mismatch inside plate" in str(error):
            sentence += "; declare the dimensions of one datum with .to_event(n)"
        raise ValueError(sentence) from error


def _declared(trace: Any) -> dict[int, str]:
    """The names of what `pyro.param` declares, by the ids of its unconstrained parameters."""
    sites = (site for site in trace.nodes.values() if site["type"] == "param")
    values = ((site["name"], site["value"]) for site in sites)
    return {id(v.unconstrained() if hasattr(v, "unconstrained") else v): n for n, v in values}


def _check_plate(plate: Any, num_data: int) -> None:
    """Refuses a batch whose data are one to an estimator that has a bound for each datum."""
    subsampled = plate is not None and plate.full_size and plate.full_size != plate.size
    if num_data == 1 or subsampled or (plate is not None and plate.size == num_data):
        return
    found = f"plate {plate.name!r} of size {plate.size}" if plate is not None else "no plate"
    raise ValueError(
        f"the {num_data} data stand in {found}, so none has a bound of its own; put the data in "
        'pyro.plate("data", len(x)), by `with` and not by `for`'
    )


def _check_latents(model_trace: Any, guide_trace: Any) -> None:
    latents = [s for s in samples(model_trace) if not s["is_observed"]]
    drawn = {s["name"]: s for s in samples(guide_trace) if not s["is_observed"]}
    for site in latents:
        name = site["name"]
        if name not in drawn and not site["infer"].get("enumerate"):
            raise ValueError(
                f"the guide has no site {name!r}, which the model samples; add "
                f"pyro.sample({name!r}, ...) to the guide, or observe it in the model with obs=..."
            )
        if name in drawn:
            _check_same_shape(site, drawn[name])
            _check_same_values(site, drawn[name])
    names = {site["name"] for site in latents}
    for name, site in drawn.items():
        if name not in names and not site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"the guide samples {name!r}, but the model does not; give both sites one name "
                f"(the model samples {sorted(names)}) or delete it from the guide"
            )
    if not any(site["is_observed"] for site in samples(model_trace)):
        raise ValueError("the model observes nothing; give its data site obs=x")


def _check_same_shape(p: Any, q: Any) -> None:
    for kind in ("batch", "event"):
        shapes = [tuple(getattr(site["fn"], f"{kind}_shape")) for site in (p, q)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"latent {p['name']!r} has {kind} shape {shapes[0]} in the model but {shapes[1]} "
                "in the guide; make them agree (size of the latent, to_event, plates)"
            )


def _check_same_values(p: Any, q: Any) -> None:
    """Refuses densities of two kinds, such as of R^n and of the simplex in it."""
    kinds = [_kind_of_values(site["fn"]) for site in (p, q)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"latent {p['name']!r} has {kinds[0]} values in the model ({_name(p['fn'])}) but "
            f"{kinds[1]} ones in the guide ({_name(q['fn'])}), so their densities cannot be "
            "compared; give both distributions of one kind"
        )


def _kind_of_values(fn: Any) -> str:
    support = support_of(fn)
    named = {"_Simplex": "simplex", "_OneHot": "one-hot", "Sphere": "sphere", "_Sphere": "sphere"}
    return named.get(type(support).__name__, "discrete" if support.is_discrete else "real")


def _check_site(role: str, site: Any) -> None:
    name, fn, value = site["name"], site["fn"], site["value"]
    event_shape = tuple(value.shape[value.dim() - len(fn.event_shape) :])
    if event_shape != tuple(fn.event_shape):
        raise ValueError(
            f"site {name!r} of the {role} has a value of event shape {event_shape}, but its "
            f"distribution is over {tuple(fn.event_shape)}; make the network's output fit the data"
        )
    _check_support(role, site)
    _check_repeated(site)
    log_prob = torch.as_tensor(fn.log_prob(value))
    if not log_prob.isfinite().all():
        raise ValueError(
            f"site {name!r} of the {role} has a log density that is not finite; look at the "
            f"parameters of its {_name(fn)}"
        )
    try:
        check_site_shape({**site, "log_prob": log_prob}, max_plate_nesting=math.inf)
    except ValueError as error:
        raise ValueError(
            f"site {name!r} of the {role} has log densities of shape {tuple(log_prob.shape)}, but "
            f"its plates are {_plates(site) or 'none'}: declare the dimensions of independent "
            'data with pyro.plate("data", len(x)) and those of one datum with .to_event(n)'
        ) from error


def _check_repeated(site: Any) -> None:
    """Refuses data that .to_event(n) has taken out of their plate, which then repeats them all."""
    event_shape = tuple(site["fn"].event_shape)
    batch_shape = site["value"].shape[: site["value"].dim() - len(event_shape)]
    for frame in site["cond_indep_stack"]:
        lacks = frame.vectorized and len(batch_shape) < -frame.dim
        if site["is_observed"] and lacks and event_shape[:1] == (frame.size,) and frame.size > 1:
            raise ValueError(
                f"site {site['name']!r} stands in plate {frame.name} ({frame.size}) but its value "
                f"has no dimension for it, so it is counted {frame.size} times; use "
                f".to_event({len(event_shape) - 1})"
            )


def _check_support(role: str, site: Any) -> None:
    fn, value = _base(site["fn"]), torch.as_tensor(site["value"])
    try:
        outside = ~fn.support.check(value)
    except NotImplementedError:  # distributions without a declared support
        return
    if not outside.any():
        return
    # For supports of whole events the first bad event stands for its first value.
    example = value[outside][0] if outside.shape == value.shape else value[outside].flatten()[0]
    binary = _name(fn) == "Bernoulli" and 0 <= value.min() and value.max() <= 1
    raise ValueError(
        f"site {site['name']!r} of the {role} holds {example.item():.4g}, outside the support of "
        f"its {_name(fn)}; "
        + (
            "binarize grey levels (binarize='dynamic'), or take a likelihood for them, such as "
            "ContinuousBernoulli or Normal"
            if binary
            else "take a distribution for such values, or transform them"
        )
    )


def _run_loss(
    loss: ELBO, model: Callable[..., Any], guide: Callable[..., Any], args: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The loss, and the parameters that its gradient reaches."""
    try:
        if callable(getattr(loss, "at", None)):
            loss = loss.at(0)
        with torch.enable_grad():
            if hasattr(loss, "differentiable_loss"):
                value = loss.differentiable_loss(model, guide, *args)
            else:
                value = pyro.infer.Trace_ELBO().differentiable_loss(model, guide, *args)
                loss.loss(model, guide, *args)
    except Exception as error:
        raise ValueError(
            f"{type(loss).__name__} does not fit this program: {_sentence(error)}"
        ) from error
    reached = leaves(value)
    if any(not arg.isfinite().all() for arg in args):
        _check_gradient(value, reached)
    return value.item(), reached


def _check_gradient(value: Tensor, reached: Sequence[Tensor]) -> None:
    """Refuses NaN that is masked behind a density, whose derivative it makes NaN all the same."""
    found = torch.autograd.grad(value, reached, retain_graph=True) if reached else ()
    if not all(part.isfinite().all() for part in (value, *found)):
        raise ValueError("the loss or its gradient is not finite")


def _site(site: Any, twin: Any) -> Site:
    return Site(
        name=site["name"],
        observed=site["is_observed"],
        model=_name(site["fn"]),
        guide="" if twin is None else _name(twin["fn"]),
        batch_shape=tuple(site["fn"].batch_shape),
        event_shape=tuple(site["fn"].event_shape),
        plates=tuple(_plates(site)),
        reparameterized=None if twin is None else bool(twin["fn"].has_rsample),
    )


def _plates(site: Any) -> list[str]:
    return [f"{frame.name} ({frame.size})" for frame in site["cond_indep_stack"]]


def _name(fn: Any) -> str:
    while type(fn).__name__ in ("Independent", "ExpandedDistribution", "MaskedDistribution"):
        fn = fn.base_dist
    return type(fn).__name__


def _sentence(error: Exception) -> str:
    said = str(error).strip().split("\n")[0].rstrip(".:")
    return said if isinstance(error, ValueError | RuntimeError) and said else repr(error)
