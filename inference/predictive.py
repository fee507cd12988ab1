"""What a program says of data: samples, reconstructions, latents, and what latents decode to.

Each works on any program by running its model and guide under Pyro's effect handlers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.program import Program, device_of, evaluating

from .estimator import samples

__all__ = ["decode", "encode", "reconstruct", "sample"]


def sample(
    program: Program, num_samples: int, x_shape: Sequence[int], *, mean: bool = True
) -> Tensor:
    """Draws z ~ p(z) and returns E[x | z], the usual picture of a sample.

    Args:
        program: What to sample from.
        num_samples: N.
        x_shape: The shape of one datum.
        mean: False draws x ~ p(x | z) instead.

    Returns:
        (N, *x_shape).
    """
    return decode(program, {}, num_samples, x_shape, mean=mean)


def decode(
    program: Program,
    latents: Mapping[str, Tensor],
    num_samples: int,
    x_shape: Sequence[int],
    *,
    mean: bool = True,
) -> Tensor:
    """E[x | z] at given latents, by the names of their sites; those not given are drawn.

    Returns:
        (N, *x_shape), for latents of N rows.
    """
    with evaluating(program):
        x = torch.zeros(num_samples, *x_shape, device=device_of(program))
        model = poutine.condition(poutine.uncondition(program.model), data=dict(latents))
        trace = prune_subsample_sites(poutine.trace(model).get_trace(x))
        data = [site for site in samples(trace) if site["infer"].get("was_observed")]
        return _value(data[0], mean)


def encode(program: Program, x: Tensor, *, mean: bool = True) -> dict[str, Tensor]:
    """The latents of data: the means of their posteriors, or a draw where there is no mean.

    Returns:
        One tensor (N, ...) for each latent site, by name.
    """
    with evaluating(program):
        trace = prune_subsample_sites(poutine.trace(program.guide).get_trace(x))
        return {site["name"]: _value(site, mean) for site in samples(trace)}


def reconstruct(program: Program, x: Tensor) -> Tensor:
    """E[x | z] at latents z ~ q(z | x) drawn once: (N, *x_shape)."""
    with evaluating(program):
        guide_trace = poutine.trace(program.guide).get_trace(x)
        model = poutine.replay(program.model, trace=guide_trace)
        trace = prune_subsample_sites(poutine.trace(model).get_trace(x))
        data = [site for site in samples(trace) if site["is_observed"]]
        return _value(data[0], mean=True).expand_as(x)


def _value(site: Mapping[str, Any], mean: bool) -> Tensor:
    if mean:
        try:
            return site["fn"].mean
        except NotImplementedError:
            pass
    return site["value"]
