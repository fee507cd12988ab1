"""What each layer of latents holds: reconstructions from the top layers alone.

They run the guide and the model of any program under Pyro's effect handlers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.batches import check_tensors
from pyro_vae.inference.terms import sample_sites, trace_guide
from pyro_vae.program import Program, evaluating
from pyro_vae.sampling import sampling

from .model_run import ModelRun, data_of
from .temperature import Temperature, Tempering

__all__ = ["reconstruct", "reconstruct_layers"]


def reconstruct(
    program: Program,
    x: Tensor,
    y: Tensor | None = None,
    *,
    layers: int | None = None,
    temperature: Temperature = 0.0,
) -> Tensor:
    """E[x | z] for one draw z ~ q(z | x) of the latents of each datum, (N, *x_shape).

    If the decoder is autoregressive, x is drawn anew from z, as in `sample`.

    Args:
        program: The program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.
        layers: How many latents to keep of the guide's draw, counted from the top, which the model
            draws first; those below come from the model. None keeps all.
        temperature: Of the latents below, given those above; see `sample`. At 0 Normal ones have
            their mean, and at 1 they are drawn.

    Raises:
        ValueError: If it is not clear which of the model's sites are the data; if x depends on
            itself in a circle, so that it cannot be drawn; if there are not so many layers; or for
            a temperature that `sample` refuses.
    """
    check_tensors(x, y)
    with evaluating(program):
        guide = trace_guide(program.guide, arguments(program, x, y), {})
        if layers is None:
            return _decoded(program, x, y, guide, (), 1.0)
        names = _from_the_top(program, x, y, guide)
        if not isinstance(layers, int) or not 1 <= layers <= len(names):
            raise ValueError(
                f"layers must be 1 to {len(names)}, as the latents from the top down are {names}, "
                f"but it is {layers!r}"
            )
        return _decoded(program, x, y, guide, names[layers:], temperature)


def reconstruct_layers(
    program: Program, x: Tensor, y: Tensor | None = None, *, temperature: Temperature = 0.0
) -> dict[str, Tensor]:
    """What `reconstruct` makes of the top 1, 2, ... latents, all of one draw of the guide.

    Args:
        program: The program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.
        temperature: Of the latents below, as in `reconstruct`.

    Returns:
        (N, *x_shape) by the name of the lowest latent that is kept, from the top down.

    Raises:
        ValueError: As `reconstruct`.
    """
    check_tensors(x, y)
    with evaluating(program):
        guide = trace_guide(program.guide, arguments(program, x, y), {})
        names = _from_the_top(program, x, y, guide)
        return {
            name: _decoded(program, x, y, guide, names[i:], temperature)
            for i, name in enumerate(names, start=1)
        }


def _from_the_top(program: Program, x: Tensor, y: Tensor | None, guide: Any) -> list[str]:
    """The latents of a datum in the order in which the model draws them."""
    model = poutine.trace(poutine.replay(program.model, trace=guide))
    sites = sample_sites(prune_subsample_sites(model.get_trace(*arguments(program, x, y))))
    names = [s["name"] for s in sites if not s["is_observed"] and s["cond_indep_stack"]]
    if not names:
        raise ValueError(
            "the program has no latent with a draw for each datum, and so no layers; draw one in "
            'pyro.plate("data", len(x))'
        )
    return names


def _decoded(
    program: Program,
    x: Tensor,
    y: Tensor | None,
    guide: Any,
    without: Sequence[str],
    temperature: Temperature,
) -> Tensor:
    """E[x | z] at a guide's draws, but for some latents, which the model draws at a temperature."""
    kept = guide.copy()
    for name in without:
        if name in kept:
            kept.remove_node(name)
    with sampling() as wishes:
        tempering = Tempering(temperature, wishes)
        run = ModelRun(program, y, lambda model: poutine.replay(tempering(model), trace=kept))
        # In a storage of its own, so that what shares it is a view of x and not of a larger table.
        x = x.clone(memory_format=torch.contiguous_format)
        found = data_of(run, x, *run.drawing(x), kept.nodes, mean=True)
        if isinstance(temperature, Mapping):
            tempering.check()
        return found
