"""Samples, the latents of data, and the data that latents decode to.

Each runs the model and the guide of any program under Pyro's effect handlers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.batches import check_tensors
from pyro_vae.inference.terms import (
    sample_sites,
    support_of,
    trace_guide,
)
from pyro_vae.program import Program, evaluating
from pyro_vae.sampling import sampling

from .model_run import Function, ModelRun, data_of, mean_or_draw
from .temperature import Temperature, Tempering

__all__ = ["decode", "discrete_latents", "encode", "sample"]


def sample(
    program: Program,
    num_samples: int,
    x_shape: Sequence[int],
    *,
    y: Tensor | None = None,
    mean: bool = True,
    dtype: torch.dtype | None = None,
    temperature: Temperature = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
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
        temperature: Of all latents, or of some, such as {"z_1": 0.5}. It multiplies the standard
            deviation of those that are Normal, also given others, so that 0 draws their mean; and
            mixtures of Normals keep the components' means. Of priors that draw codes one after the
            other, such as `PixelCNNPrior`, probable codes become more so below 1; and so do tokens
            of a likelihood such as `RecurrentTokens`, which {"x": 0.7} is for alone.
        top_k: How many of the most probable codes, or tokens, are chosen from; None for all.
        top_p: Choose from the fewest of them whose probabilities sum up to this; None for all.
        ddim_steps: By how many steps, without fresh noise, a `DiffusionPrior` draws (Song et al.,
            2021, https://arxiv.org/abs/2010.02502); None for all its steps.

    Returns:
        (N, *x_shape).

    Raises:
        ValueError: As `decode`; for a temperature below 0, or of a latent that is not there or has
            none; and for a temperature, top_k, top_p or ddim_steps that nothing takes.

    Reference:
        Of Normal latents: Vahdat and Kautz, 2020, https://arxiv.org/abs/2007.03898, section 4.1;
        of top_p: Holtzman et al., 2020, https://arxiv.org/abs/1904.09751
    """
    with sampling(top_k=top_k, top_p=top_p, ddim_steps=ddim_steps) as wishes:
        tempering = Tempering(temperature, wishes)
        found = _decode(program, {}, num_samples, x_shape, y, dtype, tempering, mean=mean)
        tempering.check()
        return found


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
    return _decode(program, latents, num_samples, x_shape, y, dtype, mean=mean)


def _decode(
    program: Program,
    latents: Mapping[str, Tensor],
    num_samples: int,
    x_shape: Sequence[int],
    y: Tensor | None,
    dtype: torch.dtype | None,
    tempering: Tempering | None = None,
    *,
    mean: bool,
) -> Tensor:
    """As `decode`, at temperatures."""
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}")
    arguments(program, torch.empty(0), y)  # says which labels are missing, or too many

    def given(model: Function) -> Function:
        model = model if tempering is None else tempering(model)
        return poutine.condition(model, data=dict(latents))

    with evaluating(program):
        run = ModelRun(program, y, given)
        x, trace, observations = run.on_placeholders(num_samples, x_shape, dtype)
        _check_names(latents, prune_subsample_sites(trace))
        return data_of(run, x, trace, observations, latents, mean=mean)


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


def _latents(program: Program, x: Tensor, y: Tensor | None) -> list[dict[str, Any]]:
    """The guide's sites that are latents of the model: neither observed nor auxiliary."""
    check_tensors(x, y)
    with evaluating(program):
        trace = trace_guide(program.guide, arguments(program, x, y), {})
        sites = sample_sites(prune_subsample_sites(trace))
        return [s for s in sites if not s["is_observed"] and not s["infer"].get("is_auxiliary")]


def _is_of_levels(fn: Any) -> bool:
    """Whether values are counts, indices or one-hot, of which a decoder cannot take the mean."""
    return (
        support_of(fn).is_discrete and support_of(fn) is not torch.distributions.constraints.boolean
    )
