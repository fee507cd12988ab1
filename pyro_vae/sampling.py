"""How parts draw: temperature, top-k and top-p of autoregressive ones, the steps of a diffusion."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_sizes

__all__ = ["UnfitSampling", "Wishes", "diffusion_steps", "sampling", "sharpened"]


class UnfitSampling(ValueError):
    """What is asked of a draw is more than the prior has; the data play no part in it."""


@dataclass
class Wishes:
    """How priors are to draw, as `sampling` sets it, and how often they have asked.

    The temperature may be set anew between draws, for each site its own.
    """

    temperature: float = 1.0
    top_k: int | None = None
    ddim_steps: int | None = None
    top_p: float | None = None
    asked_for_sharpness: int = 0
    asked_for_steps: bool = False


_WISHES: ContextVar[Wishes | None] = ContextVar("wishes", default=None)


@contextmanager
def sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    ddim_steps: int | None = None,
    top_p: float | None = None,
) -> Iterator[Wishes]:
    """Draws classes with probabilities softmax(logits / temperature), of the largest alone.

    Args:
        temperature: 1 is the model; below, probable classes become more so, and at 0 the most
            probable is drawn.
        top_k: How many classes may be drawn; None for all.
        ddim_steps: By how many steps, without fresh noise, a diffusion draws; None draws from the
            model, by all its steps.
        top_p: Draw only from the fewest classes whose probabilities sum up to this, the nucleus
            (Holtzman et al., 2020, https://arxiv.org/abs/1904.09751); None for all.

    Raises:
        ValueError: If the numbers are out of their range, or, at the end, if no prior that they are
            for has drawn.
    """
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be at least 0 and finite, but is {temperature}")
    for name, number in {"top_k": top_k, "ddim_steps": ddim_steps}.items():
        if number is not None:
            check_sizes(**{name: number})
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, but is {top_p}")
    wishes = Wishes(temperature, top_k, ddim_steps, top_p)
    token = _WISHES.set(wishes)
    try:
        yield wishes
    finally:
        _WISHES.reset(token)
    if not wishes.asked_for_sharpness and (temperature, top_k, top_p) != (1.0, None, None):
        raise ValueError(
            "temperature, top_k and top_p are for what draws codes or tokens one after the other, "
            "such as PixelCNNPrior and RecurrentTokens, and this program has none"
        )
    if not wishes.asked_for_steps and ddim_steps is not None:
        raise ValueError(
            "ddim_steps is for a DiffusionPrior, and this program has none that draws z at one site"
        )


def diffusion_steps(most: int) -> int | None:
    """By how many of its `most` steps a diffusion is to draw; None for all, with fresh noise.

    Raises:
        UnfitSampling: If more are asked for.
    """
    wishes = _WISHES.get()
    if wishes is None or wishes.ddim_steps is None:
        return None
    wishes.asked_for_steps = True
    if wishes.ddim_steps > most:
        raise UnfitSampling(
            f"ddim_steps is {wishes.ddim_steps}, but this diffusion has {most} steps; give at most "
            "as many"
        )
    return wishes.ddim_steps


def sharpened(logits: Tensor) -> Tensor:
    """Logits (..., K) as `sampling` wants them."""
    wishes = _WISHES.get()
    if wishes is None:
        return logits
    wishes.asked_for_sharpness += 1
    if wishes.temperature == 0:
        return torch.where(logits < logits.amax(-1, keepdim=True), -torch.inf, logits)
    logits = logits / wishes.temperature
    if wishes.top_k is not None and wishes.top_k < logits.shape[-1]:
        least = logits.topk(wishes.top_k).values[..., -1:]
        logits = torch.where(logits < least, -torch.inf, logits)
    return logits if wishes.top_p is None else _nucleus(logits, wishes.top_p)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits (..., K) of the fewest classes of at least this probability; others -infinity."""
    ordered, order = logits.sort(-1, descending=True)
    p = ordered.softmax(-1)
    outside = p.cumsum(-1) - p >= top_p  # those before suffice
    return logits.masked_fill(outside.gather(-1, order.argsort(-1)), -torch.inf)
