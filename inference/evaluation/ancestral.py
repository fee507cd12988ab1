"""Ancestral sampling of models that compute the parameters of x from x, as PixelCNN does.

In which order the numbers of x can be drawn is found by running the model: a number, or a latent,
can be drawn next if its parameters do not change with the placeholders of those not drawn yet.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.inference.terms import Part, density, differing, sample_sites

__all__ = ["another", "draw", "refuse_copies"]

Observe = Callable[[Tensor, Mapping[str, Tensor]], Any]


def another(x: Tensor) -> Tensor:
    """Data that differ from x in each number that is not missing."""
    if not x.is_floating_point():
        return (1 - x.long().clamp(0, 1)).to(x.dtype)
    half = torch.rand_like(x) / 2
    return torch.where(x.isnan(), x, torch.where(x > 0.5, half, half + 0.5))


def draw(
    observe: Observe, x: Tensor, parts: Sequence[Part], given: Collection[str]
) -> tuple[Tensor, Any]:
    """Draws latents and data in the order in which they depend on each other.

    Args:
        observe: Returns the model's trace for data x and the latents drawn so far, by name.
        x: Tells the shape of the data, and which of them are missing (NaN).
        parts: The sites that observe x.
        given: The names of the latents that are given.

    Returns:
        The data, and the model's trace if it observes them.

    Raises:
        ValueError: If they depend on each other in a circle.
    """
    x = x.clone()
    drawn: dict[str, Tensor] = {}
    settled = x.isnan()
    densities = torch.zeros(x.numel(), device=x.device)
    while True:
        first, *others = [observe(filled, drawn) for filled in _fillings(x, settled)]
        before = len(drawn), settled.sum()
        left = []
        for site in sample_sites(first):
            name = site["name"]
            if site["is_observed"] or name in given or name in drawn:
                continue
            left.append(name)
            if not any(_differ(site["fn"], t, name, site["value"]).any() for t in others):
                drawn[name] = site["value"]
        for part in parts:
            _draw_part(part, first, others, x, settled, densities)
        if settled.all() and not set(left) - set(drawn):
            break
        if (len(drawn), settled.sum()) == before:
            _refuse([part.name for part in parts])
    final = observe(x, drawn)
    for part in parts:
        found = density(final.nodes[part.name]["fn"], part.take(x)).flatten()
        if not torch.isclose(found, densities[part.index.flatten()], 1e-3, 1e-3).all():
            _refuse([part.name])
    return x, final


def refuse_copies(parts: Sequence[Part]) -> None:
    """Refuses sites that observe a function of x, whose draws are not numbers of x."""
    names = [part.name for part in parts if not part.exact]
    if names:
        raise ValueError(
            f"the parameters of {names} change with x, of which they observe a function, so their "
            "draws are nothing that x could be; let them observe x itself"
        )


def _fillings(x: Tensor, settled: Tensor) -> Iterator[Tensor]:
    """The data with placeholders of several values for the numbers that are not settled."""
    zeros = torch.where(settled, x, torch.zeros_like(x))
    yield zeros
    yield torch.where(settled, x, another(torch.zeros_like(x)))
    if not x.is_floating_point():  # as 1 - 0 and 0 - 1 are alike in a sum
        yield torch.where(settled, x, torch.randint_like(x.long(), 2).to(x.dtype))


def _draw_part(
    part: Part, first: Any, others: Sequence[Any], x: Tensor, settled: Tensor, densities: Tensor
) -> None:
    """Draws the numbers of a site whose parameters are the same in all traces."""
    fn = first.nodes[part.name]["fn"]
    value = part.fit(fn.sample())
    waits = torch.zeros(x.numel(), dtype=torch.bool, device=x.device)
    for trace in others:
        waits[part.index.flatten()] |= part.fit(_differ(fn, trace, part.name, value)).flatten()
    waits = waits.view(len(x), -1).any(0).expand(len(x), -1).reshape(-1)  # all rows bear witness
    numbers = part.index.flatten()
    ready = ~(waits | settled.view(-1))[numbers]
    x.view(-1)[numbers[ready]] = value.flatten()[ready].to(x.dtype)
    densities[numbers[ready]] = density(fn, value).flatten()[ready].to(densities.dtype)
    settled.view(-1)[numbers[ready]] = True


def _differ(fn: Distribution, trace: Any, name: str, value: Tensor) -> Tensor:
    return differing(fn, trace.nodes[name]["fn"], value)


def _refuse(names: Sequence[str]) -> None:
    raise ValueError(
        f"the parameters of {list(names)} change with x itself, and in no order could x be drawn "
        "number by number; let each number depend on those before it alone, as a masked network "
        "does"
    )
