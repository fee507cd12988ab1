"""Which numbers of a site's value are masked, by a handler around the site or by its mask()."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .terms import Terms
from .wrappers import event_masks

__all__ = ["check_same_masks", "counted", "numbers_of", "otherwise_masked", "which_count"]


def which_count(site: Mapping[str, Any]) -> Tensor:
    """Which numbers of a site's value count in its density: booleans of the value's shape."""
    value = torch.as_tensor(site["value"])
    counts = torch.ones(value.shape, dtype=torch.bool, device=value.device)
    for mask, event_dim in _masks(site):
        counts = counts & _over_event(torch.as_tensor(mask, device=value.device), event_dim)
    return counts


def counted(t: Terms, name: str) -> Tensor:
    """1 for each number of a latent that counts, and 0 if it is masked: (K N, D)."""
    parts = (_rows(part, name, which_count(part.traces[1].nodes[name])) for part in t.parts)
    return torch.cat(list(parts)).to(t.log_px)


def numbers_of(t: Terms, name: str, values: Tensor) -> Tensor:
    """Values of each number of a latent, scaled and masked as it is: (K N, D).

    Args:
        t: The terms of one run.
        name: The latent's.
        values: In the shape of its draws.
    """
    site = t.traces[1].nodes[name]
    scale = torch.as_tensor(site["scale"]) / (t.scale if t.layout.is_local(site) else 1.0)
    scale = _over_event(scale.to(values), site["fn"].event_dim)
    return _rows(t, name, torch.where(which_count(site), scale * values, 0.0))


def otherwise_masked(model_trace: Any, guide_trace: Any) -> list[str]:
    """The latents of which the model counts other numbers than the guide, by name.

    The difference of their log densities is that of no two distributions, and what it makes is no
    bound: where the guide alone counts a number, a wide q lowers log q without limit.
    """
    return [
        site["name"]
        for site in guide_trace.nodes.values()
        if site["type"] == "sample"
        and not site["is_observed"]
        and _is_other(site, model_trace.nodes.get(site["name"]))
    ]


def check_same_masks(t: Terms, user: str) -> None:
    """Refuses latents that are masked in the model and not in the guide, or the other way round.

    Args:
        t: The terms of a run, or of several.
        user: Who needs bounds, for the sentence.

    Raises:
        ValueError: If a latent's masks differ.
    """
    for name in otherwise_masked(*t.parts[0].traces):
        raise ValueError(
            f"{user} needs log p and log q of the same draws, but latent {name!r} is masked "
            "otherwise in the model than in the guide; give it one mask"
        )


def _is_other(site: Mapping[str, Any], twin: Mapping[str, Any] | None) -> bool:
    if twin is None or twin["is_observed"] or not (_masks(site) or _masks(twin)):
        return False
    return not torch.equal(which_count(site), which_count(twin))


def _masks(site: Mapping[str, Any]) -> list[tuple[Tensor | bool, int]]:
    """The masks of a site, each with the event dimensions that it lacks."""
    masks = [(site["mask"], site["fn"].event_dim), *event_masks(site["fn"])]
    return [(mask, dim) for mask, dim in masks if mask is not None and mask is not True]


def _rows(t: Terms, name: str, numbers: Tensor) -> Tensor:
    return t.layout.rows({**t.traces[1].nodes[name], "value": numbers})


def _over_event(batch: Tensor, event_dim: int) -> Tensor:
    return batch[(..., *(None for _ in range(event_dim)))]
