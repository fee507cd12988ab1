"""The pre-flight of a program: one run on one batch, to find what would go wrong in training."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.nn.parameter import is_lazy

from pyro_vae.batches import Data, batch_of, num_data
from pyro_vae.blame import sentence_of
from pyro_vae.factors import is_training_factor
from pyro_vae.inference.estimators import (
    Estimator,
    check_loss,
    check_particles,
    is_linear,
    total_of,
)
from pyro_vae.inference.terms import (
    check_densities,
    data_plate,
    is_deterministic,
    is_factor,
    leaving_no_trace,
    sample_sites,
    trace_guide,
    trace_model,
)
from pyro_vae.parameters import leaves, named_parameters, own_parameters
from pyro_vae.program import Program, modules_of
from pyro_vae.source import FunctionProgram

from .report import Report, Site
from .site_checks import (
    check_latents,
    check_plate,
    check_site,
    name_of,
    plates_of,
    warn_of_masks,
)

__all__ = ["Report", "Site", "check"]


def check(
    program: Program, x: Data, loss: ELBO | Tensor | None = None, y: Tensor | ELBO | None = None
) -> Report:
    """Runs guide and model on one batch, and computes the loss with its gradient.

    Modules run in training or evaluation mode, as they are; new ones are in training mode. Nothing
    is changed: no parameter, no buffer, no state of a random generator.

    Args:
        program: The program to check.
        x: A batch of data: a tensor (N, *x_shape), a `Split`, or a `DataSource`, of which the first
            128 data are the batch. Missing data are NaN, if the program takes such.
        loss: The estimator to train with. By default it is Pyro's Trace_ELBO, or TraceEnum_ELBO if
            the guide enumerates a latent.
        y: The labels, if x is a tensor and the program is a `model(x, y)`. By position, loss and
            labels may change places: `check(program, x, y)` and `check(program, x, y, loss)`.

    Returns:
        The sites, the loss in nats per datum, and the parameters that would be trained.

    Raises:
        TypeError: If the program has no model or no guide, or if the loss is a class.
        ValueError: If the program fails, if the guide misses or adds a latent, if shapes disagree,
            if data lie outside the support of their likelihood, if a parameter gets no gradient or
            one that is not finite, or if the estimator does not fit. The sentence says what to do,
            and names the line if the error comes from the user's own code.
    """
    for role in ("model", "guide"):
        if not callable(getattr(program, role, None)):
            raise TypeError(
                f"a program needs functions model(x) and guide(x), but {program!r:.80} has no "
                f"{role}"
            )
    if isinstance(loss, Tensor):
        loss, y = y, loss
    if isinstance(loss, type):
        raise TypeError(f"the loss is the class {loss.__name__}; write {loss.__name__}()")
    if loss is not None:
        check_loss(loss)
    with torch.random.fork_rng():
        batch = batch_of(program, x, y)
    try:
        with leaving_no_trace(), own_parameters(program.model, program.guide):
            return _report(program, batch, loss)
    except ValueError as error:
        missing = sum(int((~part.isfinite()).sum()) for name, part in batch.items() if name != "y")
        unknown = int(_is_missing(batch["y"]).sum()) if "y" in batch else 0
        said = str(error).partition(";")[0]
        if missing:
            raise ValueError(
                f"the data hold {missing} NaN or infinite values, which the program does not leave "
                f"out: {said}; take encoder=ZeroImputed and likelihood=Mixed(), or fill them with "
                "numbers and mask their densities"
            ) from error
        if unknown:
            raise ValueError(
                f"{unknown} labels are missing (-1, or NaN), which the program does not take: "
                f"{said}; take SemiSupervisedVAE, or leave such data out"
            ) from error
        raise


def _is_missing(y: Tensor) -> Tensor:
    return y.isnan() if y.is_floating_point() else y < 0


def _report(program: Program, batch: Mapping[str, Tensor], loss: ELBO | None) -> Report:
    model, guide = program.model, program.guide
    args, size = tuple(batch.values()), num_data(tuple(batch.values()))
    _check_buffers(model, guide)
    with pyro.validation_enabled(False):
        guide_trace = _run("guide", lambda: trace_guide(guide, args, {}), batch)
        model_trace = _run("model", lambda: trace_model(model, guide_trace, args, {}), batch)
    check_latents(model_trace, guide_trace)
    for role, trace in (("guide", guide_trace), ("model", model_trace)):
        for site in sample_sites(trace):
            if not is_deterministic(site):
                check_site(role, site)
    plate = data_plate(sample_sites(model_trace), size)
    if isinstance(loss, Estimator):
        check_plate(plate, size)
    elif isinstance(loss, ELBO):
        name = type(loss).__name__
        check_densities((model_trace, guide_trace), name, linear=is_linear(loss))
    loss_used = loss or _default_loss(guide_trace)
    value = _loss(loss_used, model, guide, args)
    warn_of_masks(model_trace, guide_trace, type(loss_used).__name__)
    reached = leaves(value)
    parameters = _parameters(program)
    for name, parameter in parameters.items():
        if all(parameter is not leaf for leaf in reached):
            raise ValueError(
                f"parameter {name!r} gets no gradient: neither model nor guide uses it, or a "
                "detach() cuts it off; use it, delete it, or freeze it with requires_grad_(False)"
            )
    if not reached:
        raise ValueError("the program has no parameter to train")
    names = _declared(guide_trace) | _declared(model_trace)
    if isinstance(loss, Estimator):
        names |= {id(parameter): name for name, parameter in loss.named_parameters().items()}
    names |= {id(parameter): name for name, parameter in parameters.items()}
    trained = {names.get(id(leaf), f"parameter_{i}"): leaf for i, leaf in enumerate(reached)}
    _check_gradients(value, trained)
    stochastic = [s for s in sample_sites(model_trace) if not is_deterministic(s)]
    sites = [_site(s, guide_trace.nodes.get(s["name"])) for s in stochastic if not is_factor(s)]
    factors = tuple(s["name"] for s in stochastic if is_factor(s) and not is_training_factor(s))
    stated = (*sample_sites(model_trace), *sample_sites(guide_trace))
    of_training = tuple(site["name"] for site in stated if is_training_factor(site))
    in_all = max(size, (plate and plate.full_size) or 0)
    return Report(sites, value.item() / in_all, trained, factors, of_training)


def _check_buffers(model: Callable[..., Any], guide: Callable[..., Any]) -> None:
    for module_name, module in modules_of(model, guide).items():
        for name, buffer in module.named_buffers():
            sizes = zip(buffer.stride(), buffer.shape, strict=True) if not is_lazy(buffer) else ()
            if any(stride == 0 and size > 1 for stride, size in sizes):
                raise ValueError(
                    f"buffer {'.'.join(filter(None, (module_name, name)))!r} is a view made by "
                    "expand(), whose numbers share their memory, so that torch can load nothing "
                    "into it; register a copy, by .clone()"
                )


def _default_loss(guide_trace: Any) -> ELBO:
    enumerates = any(site["infer"].get("enumerate") for site in sample_sites(guide_trace))
    return pyro.infer.TraceEnum_ELBO() if enumerates else pyro.infer.Trace_ELBO()


def _run(role: str, trace: Callable[[], Any], batch: Mapping[str, Tensor]) -> Any:
    try:
        return prune_subsample_sites(trace())
    except Exception as error:  # a user's code may raise anything
        shape = tuple(batch.get("x", next(iter(batch.values()))).shape)
        sentence = f"the {role} fails on data of shape {shape}: {sentence_of(error)}"
        if "Shape mismatch inside plate" in str(error):
            sentence += "; declare the dimensions of one datum with .to_event(n)"
        if "more than 1 value per channel" in str(error):
            sentence += "; BatchNorm trains on batches of two data or more"
        raise ValueError(sentence) from error


def _parameters(program: Program) -> dict[str, Tensor]:
    """The parameters of the program's modules, by the names that the user gave them."""
    parameters = named_parameters(program.model, program.guide)
    if isinstance(program, FunctionProgram):
        return {program.name_in_file(name): p for name, p in parameters.items()}
    return parameters


def _declared(trace: Any) -> dict[int, str]:
    """The names of what `pyro.param` declares, by the ids of its unconstrained parameters."""
    sites = (site for site in trace.nodes.values() if site["type"] == "param")
    values = ((site["name"], site["value"]) for site in sites)
    return {id(v.unconstrained() if hasattr(v, "unconstrained") else v): n for n, v in values}


def _loss(
    loss: ELBO, model: Callable[..., Any], guide: Callable[..., Any], args: tuple[Tensor, ...]
) -> Tensor:
    """The loss, with its gradient."""
    try:
        if callable(getattr(loss, "at", None)):
            loss = loss.at(0)
        with torch.enable_grad():
            check_particles(loss, model, guide, args)
            if not isinstance(loss, ELBO):  # a function of Pyro's kind
                value: Tensor = total_of(loss(model, guide, *args))
            elif hasattr(loss, "differentiable_loss"):
                value = loss.differentiable_loss(model, guide, *args)
            else:
                value = pyro.infer.Trace_ELBO().differentiable_loss(model, guide, *args)
                loss.loss(model, guide, *args)
    except Exception as error:
        raise ValueError(
            f"{type(loss).__name__} does not fit this program: {sentence_of(error)}"
        ) from error
    if not value.isfinite():
        raise ValueError(f"the loss is {value.item()} by {type(loss).__name__}")
    return value


def _check_gradients(value: Tensor, parameters: Mapping[str, Tensor]) -> None:
    gradients = torch.autograd.grad(value, list(parameters.values()))
    for name, gradient in zip(parameters, gradients, strict=True):
        if not gradient.isfinite().all():
            raise ValueError(
                f"parameter {name!r} gets a gradient that is not finite, although the loss is; "
                "look for a root, a logarithm or a division at 0, or for NaN that a mask hides, "
                "as 0 * NaN is NaN: put other numbers in their place, such as by nan_to_num"
            )


def _site(site: Any, twin: Any) -> Site:
    return Site(
        name=site["name"],
        observed=site["is_observed"],
        model=name_of(site["fn"]),
        guide="" if twin is None else name_of(twin["fn"]),
        batch_shape=tuple(site["fn"].batch_shape),
        event_shape=tuple(site["fn"].event_shape),
        plates=tuple(plates_of(site)),
        reparameterized=None if twin is None else bool(twin["fn"].has_rsample),
    )
