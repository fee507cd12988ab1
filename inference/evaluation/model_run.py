"""Runs a program's model without its data, and reads from the run what data it makes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.blame import sentence_of
from pyro_vae.inference.terms import (
    Observations,
    Part,
    Unobserving,
    data_parts,
    differing,
    inner,
    is_deterministic,
    is_factor,
    sample_sites,
    trace_guide,
    trace_model,
)
from pyro_vae.program import Program, device_of, modules_of
from pyro_vae.sampling import UnfitSampling

from .ancestral import another, draw, refuse_copies

__all__ = ["Function", "ModelRun", "data_of", "data_sites", "mean_or_draw"]

Function = Callable[..., Any]


class ModelRun:
    """Runs a program's model and traces it, with some of its latents given.

    Args:
        program: The program.
        y: Its labels.
        given: Puts the latents into a model.
    """

    def __init__(
        self, program: Program, y: Tensor | None, given: Callable[[Function], Function]
    ) -> None:
        self.program, self.y, self.given = program, y, given

    def drawing(self, x: Tensor) -> tuple[Any, Observations]:
        """The model's trace if it draws its data, and what it would have observed of x."""
        handler = Unobserving()
        model = self.given(handler(self.program.model))
        return self._trace(model, x), handler.observations

    def on_placeholders(
        self, num_data: int, x_shape: Sequence[int], dtype: torch.dtype | None
    ) -> tuple[Tensor, Any, Observations]:
        """Zeros as placeholders for data, and on these what `drawing` returns."""
        device = device_of(self.program)
        dtypes = (_dtype_of(self.program), torch.int64) if dtype is None else (dtype,)
        errors: list[Exception] = []
        for kind in dtypes:
            x = torch.zeros(num_data, *x_shape, device=device, dtype=kind)
            try:
                return x, *self.drawing(x)
            except Exception as error:  # a user's code may raise anything
                errors.append(error)
        if isinstance(errors[0], NotImplementedError):  # an improper prior cannot be drawn from
            raise ValueError(str(errors[0])) from errors[0]
        if isinstance(errors[0], UnfitSampling):
            raise ValueError(sentence_of(errors[0])) from errors[0]
        raise ValueError(
            f"the model fails on {num_data} data of shape {tuple(x_shape)} and dtype {dtypes[0]}: "
            f"{sentence_of(errors[0])}; shape, dtype, labels and latents must be those that it was "
            "made for"
        ) from errors[0]

    def replaying(self, trace: Any, x: Tensor) -> tuple[Any, Observations]:
        """What `drawing` returns for other data and the draws of a trace; None if it fails."""
        handler = Unobserving()
        model = poutine.replay(self.given(handler(self.program.model)), trace=trace)
        with torch.random.fork_rng(), pyro.validation_enabled(False):
            try:
                return self._trace(model, x), handler.observations
            except Exception:  # a program may well refuse what is no data of its
                return None, {}

    def observing(self, x: Tensor, drawn: Mapping[str, Tensor]) -> Any:
        """The model's trace if it observes x and has the latents that are drawn already."""
        model = poutine.condition(self.given(self.program.model), data=dict(drawn))
        with pyro.validation_enabled(False):  # placeholders need not be in any support
            return prune_subsample_sites(self._trace(model, x))

    def _trace(self, model: Function, x: Tensor) -> Any:
        return poutine.trace(model).get_trace(*arguments(self.program, x, self.y))


def data_of(
    run: ModelRun,
    x: Tensor,
    trace: Any,
    observations: Observations,
    given: Collection[str],
    *,
    mean: bool,
) -> Tensor:
    """The means or draws of the data sites, put together to (N, *x_shape)."""
    with torch.random.fork_rng():
        other = another(x)
    twin, others = run.replaying(trace, other)
    pruned = prune_subsample_sites(trace)
    parts = data_parts(pruned, observations, x, others, other)
    names = {part.name for part in parts}
    changes = False
    for site in sample_sites(pruned) if twin is not None else []:
        counts = not site["is_observed"] and not site["infer"].get("was_observed")
        if site["name"] in names or (counts and site["name"] not in given):
            q = twin.nodes[site["name"]]["fn"]
            changes |= bool(differing(site["fn"], q, site["value"]).any())
    if not changes:
        return _placed(parts, {name: mean_or_draw(pruned.nodes[name], mean) for name in names}, x)
    refuse_copies(parts)
    drawn, final = draw(run.observing, x, parts, given)
    return _placed(
        parts,
        {
            p.name: mean_or_draw({**final.nodes[p.name], "value": p.take(drawn)}, mean)
            for p in parts
        },
        x,
    )


def data_sites(program: Program, x: Tensor, y: Tensor | None = None) -> tuple[list[Part], bool]:
    """The model's sites that are the data, and whether numbers of x depend on others given z.

    Args:
        program: The program, in evaluation mode.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.

    Raises:
        ValueError: If it is not clear which of its sites are the data.
    """
    x = x.clone(memory_format=torch.contiguous_format)  # what shares its storage is a view of it
    with torch.random.fork_rng():
        other = another(x)
    guide = trace_guide(program.guide, arguments(program, x, y), {})
    traces = [
        prune_subsample_sites(trace_model(program.model, guide, arguments(program, data, y), {}))
        for data in (x, other)
    ]
    found, others = ({s["name"]: s["value"] for s in _observing(trace)} for trace in traces)
    parts = data_parts(traces[0], found, x, others, other)
    refuse_copies(parts)
    nodes = [[trace.nodes[part.name] for trace in traces] for part in parts]
    return parts, any(
        getattr(inner(a["fn"]), "draws_in_turn", False)
        or bool(differing(a["fn"], b["fn"], a["value"]).any())
        for a, b in nodes
    )


def _observing(trace: Any) -> list[Mapping[str, Any]]:
    sites = [site for site in sample_sites(trace) if site["is_observed"]]
    return [site for site in sites if not (is_deterministic(site) or is_factor(site))]


def _placed(parts: Sequence[Part], values: Mapping[str, Tensor], x: Tensor) -> Tensor:
    first = values[parts[0].name]
    found = torch.zeros(x.shape, dtype=first.dtype, device=first.device)
    for part in parts:
        value = values[part.name]
        if not part.fits(value):
            raise ValueError(
                f"data site {part.name!r} of the model has values of shape {tuple(value.shape)}, "
                f"but {len(x)} data of shape {tuple(x.shape[1:])} were asked for; make the model "
                "observe as many numbers for each datum as it has"
            )
        part.place(value, found)
    return found


def _dtype_of(program: Program) -> torch.dtype:
    """The type of the first floating parameter or buffer of a program."""
    modules = modules_of(program.model, program.guide).values()
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    kinds = (tensor.dtype for tensor in tensors if tensor.is_floating_point())
    return next(kinds, torch.get_default_dtype())


def mean_or_draw(site: Mapping[str, Any], mean: bool) -> Tensor:
    """The mean of a site; its draw if there is no mean, which is NaN for Categorical."""
    try:
        value = site["fn"].mean if mean else None
    except NotImplementedError:
        value = None
    return value if value is not None and value.isfinite().all() else site["value"]
