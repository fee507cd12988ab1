"""Samples, reconstructions, the latents of data, and the data that latents decode to.

Each runs the model and the guide of any program under Pyro's effect handlers.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.batches import check_tensors
from pyro_vae.blame import sentence_of
from pyro_vae.inference.terms import (
    Observations,
    Part,
    Unobserving,
    data_parts,
    differing,
    sample_sites,
    support_of,
    trace_guide,
)
from pyro_vae.program import Program, device_of, evaluating, modules_of
from pyro_vae.sampling import UnfitSampling, sampling

from .ancestral import another, draw, refuse_copies

__all__ = ["decode", "discrete_latents", "encode", "mean_or_draw", "reconstruct", "sample"]

Function = Callable[..., Any]


def sample(
    program: Program,
    num_samples: int,
    x_shape: Sequence[int],
    *,
    y: Tensor | None = None,
    mean: bool = True,
    dtype: torch.dtype | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    ddim_steps: int | None = None,
) -> Tensor:
    """Draws z ~ p(z) and returns E[x | z], which is usually shown as a sample.

    If the model computes the parameters of x from x itself, as an autoregressive decoder does, x is
    drawn number by number, and the mean of each number is conditional on those before it.

    Args:
        program: The program to sample from.
        num_samples: N.
        x_shape: The shape of one datum.
        y: Labels or conditions of the samples, (N,) or (N, *y_shape), for a program `model(x, y)`.
        mean: False returns a draw x ~ p(x | z) instead.
        dtype: The type of the data that the program was made for. By default it is that of the
            program's parameters, and int64 if the model fails on these.
        temperature: Of priors that draw codes one after the other, such as `PixelCNNPrior`: below
            1, probable codes become more so.
        top_k: How many of the most probable codes such a prior chooses from; None for all.
        ddim_steps: By how many steps, without fresh noise, a `DiffusionPrior` draws (Song et al.,
            2021, https://arxiv.org/abs/2010.02502); None for all its steps.

    Returns:
        (N, *x_shape).

    Raises:
        ValueError: As `decode`; and for a temperature, top_k or ddim_steps that no prior takes.
    """
    with sampling(temperature, top_k, ddim_steps):
        return decode(program, {}, num_samples, x_shape, y=y, mean=mean, dtype=dtype)


def decode(
    program: Program,
    latents: Mapping[str, Tensor],
    num_samples: int,
    x_shape: Sequence[int],
    *,
    y: Tensor | None = None,
    mean: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """E[x | z] at given latents; latents that are not given are drawn from the prior.

    Args:
        program: The program.
        latents: Values (N, ...) by the names of their sites.
        num_samples: N.
        x_shape: The shape of one datum.
        y: As in `sample`.
        mean: As in `sample`.
        dtype: As in `sample`.

    Returns:
        (N, *x_shape).

    Raises:
        ValueError: If the model fails, if it has no latent of a given name, if its prior cannot be
            drawn from, if it is not clear which of its sites are the data, if these do not fit
            x_shape, or if x depends on itself in a circle, so that it cannot be drawn.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}")
    arguments(program, torch.empty(0), y)  # says which labels are missing, or too many
    with evaluating(program):
        run = _Run(program, y, lambda model: poutine.condition(model, data=dict(latents)))
        x, trace, observations = run.on_placeholders(num_samples, x_shape, dtype)
        _check_names(latents, prune_subsample_sites(trace))
        return _data(run, x, trace, observations, latents, mean=mean)


def encode(
    program: Program, x: Tensor, y: Tensor | None = None, *, mean: bool = True
) -> dict[str, Tensor]:
    """The latents of data: the mean of the guide's distribution of each.

    Args:
        program: The program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.
        mean: False returns a draw instead. A latent whose mean is none of its values, such as a
            class, is drawn in any case.

    Returns:
        A tensor (N, ...) for each latent site, by name.
    """
    return {
        site["name"]: site["value"] if _is_of_levels(site["fn"]) else mean_or_draw(site, mean)
        for site in _latents(program, x, y)
    }


def discrete_latents(program: Program, x: Tensor, y: Tensor | None = None) -> list[str]:
    """The names of the latents with a discrete distribution, between whose values nothing lies."""
    some = _latents(program, x[:2], None if y is None else y[:2])
    return [site["name"] for site in some if support_of(site["fn"]).is_discrete]


def reconstruct(program: Program, x: Tensor, y: Tensor | None = None) -> Tensor:
    """E[x | z] for one draw z ~ q(z | x) of the latents of each datum, (N, *x_shape).

    If the decoder is autoregressive, x is drawn anew from z, as in `sample`.

    Args:
        program: The program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.

    Raises:
        ValueError: If it is not clear which of the model's sites are the data, or if x depends on
            itself in a circle, so that it cannot be drawn.
    """
    check_tensors(x, y)
    with evaluating(program):
        guide_trace = trace_guide(program.guide, arguments(program, x, y), {})
        run = _Run(program, y, lambda model: poutine.replay(model, trace=guide_trace))
        # In a storage of its own, so that what shares it is a view of x and not of a larger table.
        x = x.clone(memory_format=torch.contiguous_format)
        return _data(run, x, *run.drawing(x), guide_trace.nodes, mean=True)


class _Run:
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


def _data(
    run: _Run,
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


def _check_names(latents: Mapping[str, Tensor], trace: Any) -> None:
    names = [
        site["name"]
        for site in sample_sites(trace)
        if not site["infer"].get("was_observed")
        and (site["name"] in latents or not site["is_observed"])
    ]
    unknown = [name for name in latents if name not in names]
    if unknown:
        raise ValueError(f"the model has no latents {unknown}; its latents are {names}")


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


def _latents(program: Program, x: Tensor, y: Tensor | None) -> list[dict[str, Any]]:
    """The guide's sites that are latents of the model: neither observed nor auxiliary."""
    check_tensors(x, y)
    with evaluating(program):
        trace = trace_guide(program.guide, arguments(program, x, y), {})
        sites = sample_sites(prune_subsample_sites(trace))
        return [s for s in sites if not s["is_observed"] and not s["infer"].get("is_auxiliary")]


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


def _is_of_levels(fn: Any) -> bool:
    """Whether values are counts, indices or one-hot, of which a decoder cannot take the mean."""
    return (
        support_of(fn).is_discrete and support_of(fn) is not torch.distributions.constraints.boolean
    )
