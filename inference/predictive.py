"""What a program says of data: samples, reconstructions, latents, and what latents decode to.

Each works on any program by running its model and guide under Pyro's effect handlers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.program import Program, device_of, evaluating

from .layout import data_plate, samples, support_of

__all__ = ["decode", "discrete_latents", "encode", "reconstruct", "sample"]


def sample(
    program: Program,
    num_samples: int,
    x_shape: Sequence[int],
    *,
    y: Tensor | None = None,
    mean: bool = True,
) -> Tensor:
    """Draws z ~ p(z) and returns E[x | z], the usual picture of a sample.

    Args:
        program: What to sample from.
        num_samples: N.
        x_shape: The shape of one datum.
        y: Labels or conditions of the samples, (N,) or (N, *y_shape), for a program `model(x, y)`.
        mean: False draws x ~ p(x | z) instead.

    Returns:
        (N, *x_shape).
    """
    return decode(program, {}, num_samples, x_shape, y=y, mean=mean)


def decode(
    program: Program,
    latents: Mapping[str, Tensor],
    num_samples: int,
    x_shape: Sequence[int],
    *,
    y: Tensor | None = None,
    mean: bool = True,
) -> Tensor:
    """E[x | z] at given latents, by the names of their sites; those not given are drawn.

    Returns:
        (N, *x_shape), for latents of N rows.

    Raises:
        ValueError: If the model has no latent of a given name, its data do not fit x_shape, or its
            prior cannot be drawn from.
    """
    with evaluating(program):
        x = torch.zeros(num_samples, *x_shape, device=device_of(program))
        model = poutine.condition(poutine.uncondition(program.model), data=dict(latents))
        try:
            trace = poutine.trace(model).get_trace(*arguments(program, x, y))
        except NotImplementedError as error:  # an improper prior cannot be drawn from
            raise ValueError(str(error)) from error
        sites = samples(prune_subsample_sites(trace))
        data = [site for site in sites if site["infer"].get("was_observed")]
        _check_names(latents, [site["name"] for site in sites if site not in data])
        return _data(data, num_samples, x_shape, mean=mean)


def encode(
    program: Program, x: Tensor, y: Tensor | None = None, *, mean: bool = True
) -> dict[str, Tensor]:
    """The latents of data: the means of their posteriors, or a draw where none is a value of them.

    Returns:
        One tensor (N, ...) for each latent site, by name.
    """
    return {
        site["name"]: site["value"] if _is_of_levels(site["fn"]) else _value(site, mean)
        for site in _latents(program, x, y)
    }


def discrete_latents(program: Program, x: Tensor, y: Tensor | None = None) -> list[str]:
    """The names of the latents that take separate values, so that nothing lies between two."""
    some = _latents(program, x[:2], None if y is None else y[:2])
    return [site["name"] for site in some if support_of(site["fn"]).is_discrete]


def reconstruct(program: Program, x: Tensor, y: Tensor | None = None) -> Tensor:
    """E[x | z] at latents z ~ q(z | x) drawn once: (N, *x_shape)."""
    with evaluating(program):
        args = arguments(program, x, y)
        guide_trace = poutine.trace(program.guide).get_trace(*args)
        model = poutine.replay(program.model, trace=guide_trace)
        trace = prune_subsample_sites(poutine.trace(model).get_trace(*args))
        data = [site for site in samples(trace) if site["is_observed"]]
        return _data(data, len(x), x.shape[1:], mean=True)


def _latents(program: Program, x: Tensor, y: Tensor | None) -> list[dict[str, Any]]:
    with evaluating(program):
        trace = poutine.trace(program.guide).get_trace(*arguments(program, x, y))
        return samples(prune_subsample_sites(trace))


def _check_names(latents: Mapping[str, Tensor], names: Sequence[str]) -> None:
    unknown = [name for name in latents if name not in names]
    if unknown:
        raise ValueError(f"the model has no latents {unknown}; its latents are {list(names)}")


def _data(
    sites: Sequence[dict[str, Any]], num_data: int, x_shape: Sequence[int], *, mean: bool
) -> Tensor:
    """What the first data site says, as (N, *x_shape), however the program lays it out."""
    if not sites:
        raise ValueError("the model observes nothing; give its data site obs=x")
    site = sites[0]
    value, x_shape = _value(site, mean), tuple(x_shape)
    if any(not frame.vectorized for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"data site {site['name']!r} stands in a sequential plate and holds one datum; put "
            'the data in `with pyro.plate("data", len(x)):`'
        )
    frame = data_plate([{**site, "is_observed": True}], num_data)
    if frame is not None and frame.dim is not None:
        value = value.movedim(frame.dim - site["fn"].event_dim, 0)
    if value.numel() == math.prod(x_shape):
        return value.reshape(1, *x_shape).expand(num_data, *x_shape)
    if value.numel() != num_data * math.prod(x_shape):
        raise ValueError(
            f"data site {site['name']!r} of the model has values of shape {tuple(value.shape)}, "
            f"but {num_data} data of shape {x_shape} were asked for; make the model observe as "
            "many numbers for each datum as it has"
        )
    return value.reshape(num_data, *x_shape)


def _value(site: Mapping[str, Any], mean: bool) -> Tensor:
    """The mean of a site, or a draw where it has none: NaN says so for Categorical."""
    try:
        found = site["fn"].mean if mean else None
    except NotImplementedError:
        found = None
    if found is not None and found.isfinite().all():
        return found
    return site["fn"].sample() if site["is_observed"] else site["value"]


def _is_of_levels(fn: Any) -> bool:
    """Whether values are counts, indices or one-hot: a decoder cannot take the mean of such."""
    return (
        support_of(fn).is_discrete and support_of(fn) is not torch.distributions.constraints.boolean
    )
